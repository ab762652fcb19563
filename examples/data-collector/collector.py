"""
Collects k-lines of an exchange: a plugin behind HTTP, with the standard library alone. Begin at `Collector`.

``EXCHANGE_URL`` says whom to ask: a server with Binance's ``GET /api/v3/klines``. With ``replay`` the k-lines
are made up here, by ``replay.py``.
"""

import json
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import replay

#: Seconds.
EXCHANGE_TIMEOUT = 10
#: K-lines that are kept of each symbol and interval, and how many are asked for at first, and at most.
KEPT, FIRST, MOST = 1_000, 100, 1_000

Sample = dict[str, Any]

log = logging.getLogger("collector")  # its lines stay whole; those of print() mix when threads print at once


class Collector:
    """
    :param exchange: the base URL of the exchange.
    :param now: the wall clock, Unix time in seconds.
    """

    def __init__(self, exchange: str, now: Callable[[], float] = time.time) -> None:
        self._exchange = exchange.rstrip("/")
        self._now = now
        self._lock = threading.Lock()  # jobs and callers come in threads of their own
        #: By symbol and interval, then by when a k-line opened.
        self._samples: dict[tuple[str, str], dict[int, Sample]] = defaultdict(dict)

    def on_task(self, task: dict[str, Any]) -> str:
        """
        Collect what is new of one symbol and interval; also what an outage has left out.

        :param task: as the node sends it: ``params`` is what is wanted, ``interval`` what is due.
        :returns: the task's result. When this fails, the task has failed, and no other one.
        """
        key = task["params"]["symbol"], task["interval"]
        with self._lock:
            newest = max(self._samples[key], default=None)
        new = self.complete(*key, newest)
        with self._lock:
            known = self._samples[key]
            known.update((sample["open_time"], sample) for sample in new)
            for open_time in sorted(known)[:-KEPT]:
                del known[open_time]
        text = f"{' '.join(key)}: {len(new)} new"
        if new:
            text += f", the last one closed at {new[-1]['close']} ({new[-1]['source']})"
        log.info(text)
        return text

    def complete(self, symbol: str, interval: str, newest: int | None) -> list[Sample]:
        """
        :param newest: when the newest k-line opened that is known, Unix time in milliseconds.
        :returns: the complete k-lines after it.
        :raises RuntimeError: the exchange refuses; ``OSError``: it can't be reached.
        """
        query = {"symbol": symbol, "interval": interval, "limit": FIRST}
        if newest is not None:
            query |= {"startTime": newest + 1, "limit": MOST}
        try:
            url = f"{self._exchange}/api/v3/klines?{urlencode(query)}"
            with urlopen(url, timeout=EXCHANGE_TIMEOUT) as response:
                rows = json.load(response)
                source = response.headers.get("X-Data-Source", self._exchange)
        except HTTPError as error:
            raise RuntimeError(f"the exchange responds {error.code}: {error.read(200).decode()}") from None
        samples: list[Sample] = []
        for open_time, opened, high, low, close, volume, close_time, *_ in rows:
            if close_time < self._now() * 1_000:  # the last one may still be growing
                prices = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
                about = {"symbol": symbol, "interval": interval, "source": source}
                samples.append({**about, "open_time": open_time, **prices})
        return samples

    def samples(self, symbol: str | None, interval: str | None, limit: int) -> list[Sample]:
        """:returns: the newest of each symbol and interval, or of one, oldest first."""
        with self._lock:
            return [
                known[open_time]
                for key, known in sorted(self._samples.items())
                if key[0] == (symbol or key[0]) and key[1] == (interval or key[1])
                for open_time in sorted(known)[-limit:]
            ]


class Handler(BaseHTTPRequestHandler):
    """What the node asks for, ``/health`` and ``/on-task``, and what callers may see through its gateway."""

    protocol_version = "HTTP/1.1"  # keeps connections open, so that a task costs no new one
    collector: Collector

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if url.path == "/health":
            self.respond(200, {})
        elif url.path == "/samples" and query.get("limit", "1").isdecimal():
            limit = max(int(query.get("limit", 1)), 1)
            self.respond(200, self.collector.samples(query.get("symbol"), query.get("interval"), limit))
        else:
            self.respond(404, {"message": "expected /samples, with symbol, interval and limit if you like"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/on-task":
            self.respond(404, {"message": "no such path"})
            return
        try:
            result = self.collector.on_task(json.loads(body)["task"])
        except Exception as error:
            self.respond(500, str(error) if isinstance(error, RuntimeError) else repr(error))
        else:
            self.respond(200, result)

    def respond(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What it logs is in the node's log; a line for each request would drown that."""


def serve(collector: Collector, port: int) -> ThreadingHTTPServer:
    """:param port: 0 takes any port that is free."""
    handler = type("Handler", (Handler,), {"collector": collector})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    exchange = os.environ.get("EXCHANGE_URL", "replay")
    if exchange == "replay":
        stand_in = replay.serve(0)
        threading.Thread(target=stand_in.serve_forever, daemon=True).start()
        exchange = f"http://127.0.0.1:{stand_in.server_port}"
        log.info("k-lines are made up by replay.py; EXCHANGE_URL=https://api.binance.com asks an exchange")
    serve(Collector(exchange), 9001).serve_forever()


if __name__ == "__main__":
    main()
