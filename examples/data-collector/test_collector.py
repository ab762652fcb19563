"""The collector, asked as the node asks it, and an exchange that is made up. `python -m unittest` runs it."""

import json
import threading
import unittest
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from typing import Any

import replay
from collector import Collector, serve

MINUTE = 60
#: Unix time in seconds: five seconds into a minute, as in config.yaml.
START = 1_767_225_605.0


class CollectorTests(unittest.TestCase):
    def setUp(self) -> None:
        self.now = START
        exchange = replay.serve(0)

        class Exchange(replay.Handler):
            now = staticmethod(lambda: self.now)

        exchange.RequestHandlerClass = Exchange
        self.url = self.run_in_thread(serve(Collector(self.run_in_thread(exchange), lambda: self.now), 0))

    def run_in_thread(self, server: ThreadingHTTPServer) -> str:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def on_task(self, symbol: str, interval: str) -> Any:
        task = {"task_id": "a", "params": {"symbol": symbol, "intervals": [interval]}, "interval": interval}
        with urllib.request.urlopen(
            f"{self.url}/on-task", json.dumps({"task": task}).encode(), 5
        ) as response:
            return json.load(response)

    def samples(self, query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/samples?{query}", timeout=5) as response:
            return json.load(response)

    def test_the_first_time(self) -> None:
        """Complete k-lines only: the one of this minute is left out."""
        self.assertRegex(
            self.on_task("BTCUSDT", "1m"), r"^BTCUSDT 1m: 99 new, .* at \d+\.\d\d \(generated\)$"
        )
        (newest,) = self.samples("symbol=BTCUSDT")
        self.assertEqual(newest["open_time"], (START - 5 - MINUTE) * 1_000)
        self.assertEqual(newest["source"], "generated")

    def test_later_what_is_new(self) -> None:
        self.on_task("BTCUSDT", "1m")
        self.assertEqual(self.on_task("BTCUSDT", "1m"), "BTCUSDT 1m: 0 new")
        self.now += MINUTE
        self.assertIn("BTCUSDT 1m: 1 new", self.on_task("BTCUSDT", "1m"))

    def test_an_outage_leaves_no_gap(self) -> None:
        self.on_task("BTCUSDT", "1m")
        self.now += 30 * MINUTE
        self.assertIn("BTCUSDT 1m: 30 new", self.on_task("BTCUSDT", "1m"))
        times = [sample["open_time"] for sample in self.samples("limit=1000")]
        self.assertEqual(times, list(range(times[0], times[-1] + 1, MINUTE * 1_000)))

    def test_symbols_and_intervals_are_apart(self) -> None:
        self.on_task("BTCUSDT", "1m")
        self.on_task("BTCUSDT", "1h")
        self.on_task("ETHUSDT", "1m")
        self.assertEqual(len(self.samples("")), 3)
        self.assertEqual(len(self.samples("symbol=BTCUSDT&limit=2")), 4)
        self.assertEqual({sample["symbol"] for sample in self.samples("interval=1h")}, {"BTCUSDT"})

    def test_an_hour_is_sixty_minutes(self) -> None:
        self.now = START - START % 3_600 + 3_600 + 5
        self.on_task("BTCUSDT", "1m")
        self.on_task("BTCUSDT", "1h")
        minutes = self.samples("interval=1m&limit=60")
        (hour,) = self.samples("interval=1h")
        self.assertEqual((hour["open"], hour["close"]), (minutes[0]["open"], minutes[-1]["close"]))

    def test_what_the_exchange_refuses(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.on_task("NONSENSE", "1m")
        with caught.exception as response:
            self.assertEqual(response.code, 500)
            self.assertIn("the exchange responds 400", json.load(response))


if __name__ == "__main__":
    unittest.main()
