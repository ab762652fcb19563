"""The demo plugin in a node in memory, with a publisher of the test."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.errors import StartupError
from scfd.interfaces import IFunctionPlugin, IHeartbeatContributor, IStoppable
from scfd.testing import Node
from tests.nodes import queue, timer

FILE = Path(__file__).parent.parent / "examples/host-metrics/twisted/plugins/host_metrics.py"


def load() -> ModuleType:
    """The plugin's module, which is in no package here."""
    spec = importlib.util.spec_from_file_location("host_metrics", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


host_metrics = load()


class Publisher:
    """
    Keeps what is published.

    :ivar published: subject and value of each message.
    :ivar failure: with it, nothing can be published.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.published: list[tuple[str, Any]] = []
        self.failure: Exception | None = None

    def publish(self, subject: str, payload: bytes) -> Deferred[object]:
        if self.failure is not None:
            return fail(self.failure)
        self.published.append((subject, json.loads(payload)))
        return succeed(None)

    async def close(self) -> None:
        """There is nothing to close."""


def task(task_id: str, **parameters: Any) -> dict[str, Any]:
    return {"task_id": task_id, "task_params": json.dumps(parameters)}


class HostMetricsTestCase(SynchronousTestCase):
    """
    A node with the plugin.

    :ivar publisher: what it publishes with.
    """

    def setUp(self) -> None:
        self.publisher = Publisher("")
        self.node = self.start(nats_url="nats://127.0.0.1:14222", window=3)
        self.addCleanup(self.node.close)

    def start(self, **settings: Any) -> Node:
        plugin = host_metrics.HostMetrics(lambda url: self.publisher)
        triggers = [
            timer("sample", "0 * * * * * *"),
            queue("samples", stream="METRICS", subject="metrics.>", dead_letter="dead"),
        ]
        return Node(plugin, {"triggers": triggers, "plugin": settings})

    def sample(self, *tasks: dict[str, Any]) -> list[tuple[str, int, str]]:
        """Have the plugin sample. :returns: the results."""
        self.node.set_tasks(tasks)
        self.node.fire("sample")
        return [(one.task_id, one.status, one.result) for one in self.node.results]

    def said(self) -> list[str]:
        return [line.partition("host-metrics: ")[2] for line in self.node.log if "host-metrics: " in line]


class InitTests(HostMetricsTestCase):
    def test_provides_its_interfaces(self) -> None:
        for interface in (IFunctionPlugin, IStoppable, IHeartbeatContributor):
            verifyObject(interface, host_metrics.host_metrics)
        self.assertEqual("host-metrics", host_metrics.host_metrics.name)
        self.assertEqual(
            self.node.parts.adapter.heartbeat_extra(),
            {"supported_collectors": ["cpu", "disk", "load", "memory"]},
        )

    def test_settings(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "plugin.nats_url is missing; it should be like nats://127.0.0.1:14222"),
            ({"nats_url": "x", "window": 0}, "plugin.window is 0; it should be a whole number from 1"),
            ({"nats_url": "x", "window": "a"}, "plugin.window is 'a'; it should be a whole number from 1"),
        ]
        for settings, message in cases:
            error = self.assertRaises(StartupError, self.start, **settings)
            self.assertIn(message, str(error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), len(cases))


class TimerTests(HostMetricsTestCase):
    def test_publishes_what_a_task_asks_for(self) -> None:
        memory, load, _ = self.sample(
            task("m", metric="memory"), task("l", metric="load"), task("c", metric="cpu")
        )
        subjects = [subject for subject, _ in self.publisher.published]
        self.assertEqual(subjects, ["metrics.memory", "metrics.load", "metrics.cpu"])
        sample = self.publisher.published[0][1]
        value = sample["value"]
        self.assertEqual(
            sample, {"task_id": "m", "metric": "memory", "value": value, "at": "2026-01-05T00:00:00Z"}
        )
        self.assertTrue(0 < value <= 100, sample)
        self.assertEqual(memory, ("m", 2, f"memory {value:.1f} %"))
        self.assertEqual(load[2], f"load {self.publisher.published[1][1]['value']:.2f}")

    def test_two_tasks_that_ask_for_the_cpu_get_the_same(self) -> None:
        self.sample(task("a", metric="cpu"), task("b", metric="cpu"))
        first, second = (sample["value"] for _, sample in self.publisher.published)
        self.assertEqual(first, second)

    def test_an_invalid_task_is_not_executed(self) -> None:
        results = self.sample({**task("m", metric="memory"), "invalid": 1})
        self.assertEqual(([], []), (results, self.publisher.published))
        self.assertEqual(self.said(), [])

    def test_a_bad_task_does_not_hurt_the_others(self) -> None:
        bad = {"task_id": "b", "task_params": "{"}
        self.sample(bad, task("x", metric="x"), {"task_id": "n"}, task("m", metric="memory"))
        results = {one.task_id: one for one in self.node.results}
        self.assertEqual(
            {name: one.status for name, one in results.items()}, {"b": 4, "x": 4, "n": 4, "m": 2}
        )
        self.assertEqual(results["x"].result, "metric is 'x'; it should be one of cpu, disk, load, memory")

    def test_a_sample_that_cannot_be_published(self) -> None:
        self.publisher.failure = OSError("no server")
        self.assertEqual(self.sample(task("m", metric="memory")), [("m", 4, "no server")])

    def test_says_in_one_line_what_it_sampled(self) -> None:
        self.sample(task("m", metric="memory"), task("x", metric="x"))
        value = self.publisher.published[0][1]["value"]
        why = "metric is 'x'; it should be one of cpu, disk, load, memory"
        self.assertEqual(self.said(), [f"memory {value:.1f} %, x failed: {why}"])

    def test_disks_are_measured_in_a_thread(self) -> None:
        disk, missing = self.sample(task("d", metric="disk"), task("x", metric="disk", path="/no/such"))
        ((subject, sample),) = self.publisher.published
        self.assertEqual("metrics.disk", subject)
        self.assertTrue(0 <= sample["value"] <= 100, sample)
        self.assertEqual(disk, ("d", 2, f"disk {sample['value']:.1f} %"))
        self.assertEqual(missing[1], 4)
        self.assertIn("/no/such", missing[2])


class SampleTests(HostMetricsTestCase):
    def mean(self, value: float, task_id: str = "c", metric: str = "cpu") -> str:
        """:returns: the result of its task."""
        self.node.publish("metrics.cpu", {"task_id": task_id, "metric": metric, "value": value})
        result = self.node.results[-1]
        self.assertEqual((result.task_id, result.status), (task_id, 2))
        return result.result

    def test_rolling_mean(self) -> None:
        self.assertEqual(
            ["cpu mean 1.0 % of 1", "cpu mean 2.0 % of 2", "cpu mean 3.0 % of 3", "cpu mean 6.0 % of 3"],
            [self.mean(value) for value in (1, 3, 5, 10)],
        )

    def test_every_task_has_its_own(self) -> None:
        self.mean(1)
        self.assertEqual("load mean 0.50 of 1", self.mean(0.5, "l", "load"))

    def test_a_message_that_is_no_sample_is_left_out(self) -> None:
        good = {"task_id": "c", "metric": "cpu", "value": 1}
        bad: list[Any] = [{**good, "value": "x"}, {**good, "metric": "x"}, {**good, "task_id": 1}]
        payloads = [None, "text", [], {}, *bad]
        for payload in payloads:
            self.node.publish("metrics.cpu", payload)
        self.assertEqual(self.said(), ["left out a message on metrics.cpu: no sample"] * len(payloads))
        self.assertEqual((self.node.results, self.node.dead_letters), ([], []))

    def test_says_the_means_every_ten_seconds_at_most(self) -> None:
        for seconds, lines in ((0, 0), (10, 1), (9, 1)):
            self.node.advance(seconds=seconds)
            self.mean(1)
            self.mean(0.5, "l", "load")
            self.assertEqual(len(self.said()), lines)
        self.assertEqual(self.said(), ["rolling means: cpu 1.0 %, load 0.50"])
