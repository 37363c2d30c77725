"""What an order costs."""

from decimal import ROUND_HALF_UP, Decimal

PRICES = {"mug": Decimal("12.90"), "tea": Decimal("4.55")}

# From so many pieces on, so much less is to be paid.
DISCOUNTS = [(100, Decimal("0.15")), (10, Decimal("0.05"))]


class UnknownItem(Exception):
    """The item is not sold here."""


def total(item: str, quantity: int) -> Decimal:
    """The price of quantity pieces of item, rounded to cents as merchants do."""
    if item not in PRICES:
        raise UnknownItem(item)
    if quantity < 1:
        raise ValueError("quantity must be above 0")
    rate = next((rate for pieces, rate in DISCOUNTS if quantity >= pieces), Decimal(0))
    price = PRICES[item] * quantity * (1 - rate)
    return price.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
