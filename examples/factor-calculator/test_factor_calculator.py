"""The plugin in a whole node with a JetStream in memory, and its own part of JetStream made of lists."""

import unittest
from pathlib import Path
from typing import Any

from factor_calculator import FactorCalculator
from jetstream import JetStream, KLine
from market import kline

from scfd.testing import Node

CONFIG = Path(__file__).with_name("config.yaml")
SUBJECT = "kline.BTCUSDT.1s"


class ListedJetStream(JetStream):
    """Keeps what is published, and has a past."""

    def __init__(self, past: list[KLine] | None = None) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.past = past or []

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Nor to leave."""

    async def publish(self, subject: str, value: dict[str, Any]) -> None:
        self.published.append((subject, value))

    async def before(self, subject: str, sequence: int) -> list[KLine]:
        return self.past


class FactorCalculatorTests(unittest.TestCase):
    def node(self, jetstream: JetStream, **settings: Any) -> Node:
        config: dict[str, Any] = {"plugin": {"nats_url": "nats://nats.test", **settings}}
        trigger = {"url": "nats://nats.test", "stream": "KLINES", "subject": "kline.>", "consumer_name": "c"}
        config["triggers"] = [{"name": "k-lines", "type": "nats", "settings": trigger}]
        node = Node(FactorCalculator(lambda url: jetstream), config, tasks=[{"task_id": "BTCUSDT"}])
        self.addCleanup(node.close)
        return node

    def publish(self, node: Node, *seconds: int) -> None:
        for second in seconds:
            node.publish(SUBJECT, kline("BTCUSDT", 100.0, second))
        node.advance(seconds=1)

    def test_factors_are_published(self) -> None:
        """Those that there are enough k-lines for."""
        jetstream = ListedJetStream()
        node = self.node(jetstream)
        self.publish(node, *range(40))
        self.assertEqual({subject for subject, _ in jetstream.published}, {"factor.BTCUSDT.1s"})
        first, last = jetstream.published[0][1], jetstream.published[-1][1]
        self.assertEqual((first["rsi"], first["macd"], first["ma"]), (None, None, {"5": None, "20": None}))
        closes = [kline("BTCUSDT", 100.0, second)["close"] for second in range(35, 40)]
        self.assertAlmostEqual(last["ma"]["5"], sum(closes) / 5)
        self.assertGreater(last["rsi"], 50)
        self.assertEqual(last["source"], "generated")
        self.assertRegex(node.results[-1].result, r"^close [\d.]+, ma5 .* rsi .* macd .* \(generated\)$")

    def test_a_k_line_that_comes_again_changes_nothing(self) -> None:
        jetstream = ListedJetStream()
        node = self.node(jetstream)
        self.publish(node, *range(40), 39)
        self.assertEqual(jetstream.published[-1], jetstream.published[-2])

    def test_after_a_restart_the_past_comes_from_the_stream(self) -> None:
        without, jetstream = (
            ListedJetStream(),
            ListedJetStream([kline("BTCUSDT", 100.0, s) for s in range(39)]),
        )
        self.publish(self.node(without), *range(40))
        self.publish(self.node(jetstream), 39)
        self.assertEqual(jetstream.published, without.published[-1:])

    def test_a_long_window_is_computed_in_a_thread(self) -> None:
        jetstream = ListedJetStream([kline("BTCUSDT", 100.0, second) for second in range(3_000)])
        self.publish(self.node(jetstream, window=2_500), 3_000)
        self.assertIsNotNone(jetstream.published[0][1]["macd"])

    def test_k_lines_are_made_up(self) -> None:
        """With the shipped config: a minute of the past at first, then one each second."""
        jetstream = ListedJetStream()
        tasks = [{"task_id": "BTCUSDT", "task_params": {"price": 64_000}}]
        with Node(FactorCalculator(lambda url: jetstream), CONFIG, tasks=tasks) as node:
            node.advance(seconds=10)
        times = [value["open_time"] for _, value in jetstream.published]
        self.assertEqual(times, list(range(times[0], times[-1] + 1, 1_000)))
        self.assertEqual(len(times), 60 + 9)


if __name__ == "__main__":
    unittest.main()
