"""Starts the server on port 8000, until it is told to stop."""

import signal
import sys

from orders.server import Server


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Server(("", 8000))
    print("orders listens on port 8000", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
