import json
import threading
import unittest
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from orders.server import Handler, Server


class Http(unittest.TestCase):
    def setUp(self):
        Handler.log_message = lambda *_: None
        self.server = Server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def ask(self, path, order=None):
        data = None if order is None else json.dumps(order).encode()
        try:
            with urlopen(Request(self.url + path, data)) as answer:
                return answer.status, json.load(answer)
        except HTTPError as e:
            with e:
                return e.code, json.load(e)

    def test_order(self):
        status, order = self.ask("/orders", {"item": "mug", "quantity": 2})
        self.assertEqual((status, order["total"]), (201, "25.80"))
        self.assertEqual(self.ask(f"/orders/{order['number']}"), (200, order))

    def test_wrong_orders(self):
        for order, want in [({"item": "car", "quantity": 1}, 404), ({"item": "mug"}, 400), ({"item": "mug", "quantity": 0}, 400), ([], 400)]:
            with self.subTest(order=order):
                self.assertEqual(self.ask("/orders", order)[0], want)

    def test_health(self):
        self.assertEqual(self.ask("/health"), (200, {"status": "ok"}))

    def test_unknown(self):
        for path in ["/", "/orders/7", "/orders/x"]:
            self.assertEqual(self.ask(path)[0], 404)
