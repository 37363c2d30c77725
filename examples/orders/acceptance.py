"""Asks the released image, which runs as host app, what its users will ask."""

import json
import os
from urllib.request import urlopen


def ask(path, order=None):
    with urlopen("http://app:8000" + path, order and json.dumps(order).encode()) as answer:
        return json.load(answer)


order = ask("/orders", {"item": "tea", "quantity": 10})
assert order["total"] == "43.23", order
assert ask(f"/orders/{order['number']}") == order
version = ask("/version")["version"]
assert version == os.environ["MILLRACE_COMMIT"], version
print("accepted", order)
