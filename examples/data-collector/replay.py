"""
Stands in for an exchange: k-lines that are made up, in the form of Binance's ``GET /api/v3/klines``.

None of it is market data, and each response says so in its header ``X-Data-Source``. A symbol has the same
k-lines each time. ``python replay.py 9100`` serves them alone.
"""

import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SOURCE = "generated"
#: The price around which that of a symbol swings.
PRICES = {"BTCUSDT": 64_000.0, "ETHUSDT": 3_200.0, "SOLUSDT": 150.0}
#: Seconds.
UNITS = {"m": 60, "h": 3_600, "d": 86_400}
#: How far the price swings, and in how many seconds.
SWINGS = ((0.03, 86_400), (0.01, 7_200), (0.002, 540))
#: Prices of a k-line, of which the first is ``open`` and the last is ``close``.
POINTS = 9


def price(symbol: str, second: float) -> float:
    swing = sum(size * math.sin(2 * math.pi * second / period) for size, period in SWINGS)
    noise = zlib.crc32(f"{symbol} {second:.3f}".encode()) / 2**32 - 0.5
    return PRICES[symbol] * (1 + swing + noise / 1_000)


def seconds(interval: str) -> int:
    """:returns: the length of an interval. :raises ValueError: there is no such interval here."""
    count, unit = interval[:-1], interval[-1:]
    if not count.isdecimal() or int(count) < 1 or unit not in UNITS:
        raise ValueError("Invalid interval.")
    return int(count) * UNITS[unit]


def kline(symbol: str, start: int, length: int) -> list[object]:
    """:param start: Unix time in seconds, like ``length``."""
    prices = [price(symbol, start + length * i / (POINTS - 1)) for i in range(POINTS)]
    volume = 1_000 * length / 60 / PRICES[symbol]
    shown = [f"{value:.2f}" for value in (prices[0], max(prices), min(prices), prices[-1], volume)]
    return [start * 1_000, *shown, (start + length) * 1_000 - 1]


def klines(query: dict[str, str], now: float) -> list[list[object]]:
    """
    :param query: ``symbol``, ``interval`` and, if they are there, ``startTime`` (milliseconds) and ``limit``.
    :param now: Unix time in seconds; the last k-line is that of this moment, and not complete.
    :raises ValueError: the exchange would refuse that, with this text.
    """
    symbol, length = query.get("symbol", ""), seconds(query.get("interval", ""))
    if symbol not in PRICES:
        raise ValueError("Invalid symbol.")
    limit = int(query.get("limit", 500))
    last = int(now) // length
    first = last - limit + 1
    if "startTime" in query:
        first = -(-int(query["startTime"]) // (length * 1_000))
    return [
        kline(symbol, number * length, length) for number in range(first, min(last, first + limit - 1) + 1)
    ]


class Handler(BaseHTTPRequestHandler):
    now: Callable[[], float] = staticmethod(time.time)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        try:
            if url.path != "/api/v3/klines":
                raise ValueError("No such path.")
            self.respond(200, klines(query, self.now()))
        except ValueError as error:
            self.respond(400, {"code": -1, "msg": str(error)})

    def respond(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Data-Source", SOURCE)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each request would hide the collector's own."""


def serve(port: int) -> ThreadingHTTPServer:
    """:param port: 0 takes any port that is free."""
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serve(int(sys.argv[1])).serve_forever()
