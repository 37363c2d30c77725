"""The HTTP side: POST /orders, GET /orders/N, GET /health, GET /version."""

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orders.price import UnknownItem, total
from orders.version import VERSION


class Server(ThreadingHTTPServer):
    """Keeps the orders in memory."""

    daemon_threads = True

    def __init__(self, address):
        super().__init__(address, Handler)
        self.orders = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()

    def take(self, item, quantity):
        price = total(item, quantity)
        with self.lock:
            number = next(self.numbers)
            self.orders[number] = {"number": number, "item": item, "quantity": quantity, "total": str(price)}
        return self.orders[number]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"status": "ok"})
        if self.path == "/version":
            return self.answer(200, {"version": VERSION})
        prefix, _, number = self.path.rpartition("/")
        order = self.server.orders.get(int(number)) if prefix == "/orders" and number.isdecimal() else None
        if order is None:
            return self.answer(404, {"error": "there is no such thing"})
        return self.answer(200, order)

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 20))
        if self.path != "/orders":
            return self.answer(404, {"error": "there is no such thing"})
        try:
            order = json.loads(body)
            return self.answer(201, self.server.take(order["item"], order["quantity"]))
        except UnknownItem as e:
            return self.answer(404, {"error": f"{e} is not sold here"})
        except (KeyError, TypeError, ValueError):
            return self.answer(400, {"error": 'write {"item": "mug", "quantity": 1}'})

    def answer(self, status, body):
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
