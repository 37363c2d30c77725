import unittest
from decimal import Decimal

from orders.price import UnknownItem, total


class Price(unittest.TestCase):
    def test_single(self):
        self.assertEqual(total("mug", 1), Decimal("12.90"))

    def test_discount(self):
        for quantity, want in [(9, "40.95"), (10, "43.23"), (99, "427.93"), (100, "386.75")]:
            self.assertEqual(total("tea", quantity), Decimal(want), f"{quantity} of tea")

    def test_not_sold(self):
        with self.assertRaises(UnknownItem):
            total("car", 1)

    def test_nothing(self):
        with self.assertRaises(ValueError):
            total("mug", 0)
