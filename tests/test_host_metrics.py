"""The demo plugin, with a publisher and a clock in memory."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from scfd.events.event import TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskSnapshot
from scfd.interfaces import IFunctionPlugin, IHeartbeatContributor, IStoppable

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


def framework(**settings: Any) -> Any:
    return SimpleNamespace(config=SimpleNamespace(plugin=settings))


def task(task_id: str, **parameters: Any) -> dict[str, Any]:
    return {"task_id": task_id, "invalid": 0, "task_params": json.dumps(parameters)}


def timer(*tasks: Mapping[str, Any]) -> TriggerEvent:
    return TriggerEvent("timer", "sample", snapshot=TaskSnapshot(tasks))


def nats(payload: Any) -> TriggerEvent:
    return TriggerEvent("nats", "samples", payload, {"subject": "metrics.cpu"})


class HostMetricsMixin:
    """
    A plugin that is ready.

    :ivar publisher: what it publishes with.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        # 2026-11-23 21:48:00 UTC
        self.clock.advance(1795470480)
        publishers: list[Publisher] = []

        def make(url: str) -> Publisher:
            publishers.append(Publisher(url))
            return publishers[-1]

        self.plugin = host_metrics.HostMetrics(make, self.clock)
        self.plugin.init(framework(nats_url="nats://127.0.0.1:14222", window=3))
        (self.publisher,) = publishers

    def lines(self, do: Callable[[], object]) -> list[str]:
        with capturedLogs() as events:
            do()
        ours = [event for event in events if event["log_namespace"] == "scfd.host-metrics"]
        return [event["log_format"].format(**event) for event in ours]


class InitTests(SynchronousTestCase):
    def test_provides_its_interfaces(self) -> None:
        for interface in (IFunctionPlugin, IStoppable, IHeartbeatContributor):
            verifyObject(interface, host_metrics.host_metrics)
        self.assertEqual("host-metrics", host_metrics.host_metrics.name)

    def test_settings(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "plugin.nats_url is missing; it should be like nats://127.0.0.1:14222"),
            ({"nats_url": "x", "window": 0}, "plugin.window is 0; it should be a whole number from 1"),
            ({"nats_url": "x", "window": "a"}, "plugin.window is 'a'; it should be a whole number from 1"),
        ]
        for settings, message in cases:
            plugin = host_metrics.HostMetrics(Publisher, Clock())
            error = self.assertRaises(ValueError, plugin.init, framework(**settings))
            self.assertEqual(message, str(error))


class TimerTests(HostMetricsMixin, SynchronousTestCase):
    def trigger(self, *tasks: Mapping[str, Any]) -> TriggerResponse:
        response: TriggerResponse = self.successResultOf(
            Deferred.fromCoroutine(self.plugin.on_trigger(timer(*tasks)))
        )
        return response

    def test_publishes_what_a_task_asks_for(self) -> None:
        response = self.trigger(task("m", metric="memory"), task("l", metric="load"), task("c", metric="cpu"))
        self.assertEqual(
            ["metrics.memory", "metrics.load", "metrics.cpu"],
            [subject for subject, _ in self.publisher.published],
        )
        sample = self.publisher.published[0][1]
        self.assertEqual(
            {"task_id": "m", "metric": "memory", "value": sample["value"], "at": "2026-11-23T21:48:00Z"},
            sample,
        )
        self.assertTrue(0 < sample["value"] <= 100, sample)
        self.assertEqual(
            ("m", TaskStatus.SUCCESS, f"memory {sample['value']:.1f} %"),
            (
                response.task_results[0].task_id,
                response.task_results[0].status,
                response.task_results[0].result,
            ),
        )
        self.assertEqual(
            f"load {self.publisher.published[1][1]['value']:.2f}", response.task_results[1].result
        )

    def test_two_tasks_that_ask_for_the_cpu_get_the_same(self) -> None:
        self.trigger(task("a", metric="cpu"), task("b", metric="cpu"))
        first, second = (sample["value"] for _, sample in self.publisher.published)
        self.assertEqual(first, second)

    def test_an_invalid_task_is_not_executed(self) -> None:
        response = self.trigger({**task("m", metric="memory"), "invalid": 1})
        self.assertEqual(((), []), (response.task_results, self.publisher.published))

    def test_a_bad_task_does_not_hurt_the_others(self) -> None:
        bad = {"task_id": "b", "invalid": 0, "task_params": "{"}
        response = self.trigger(bad, task("x", metric="x"), {"task_id": "n"}, task("m", metric="memory"))
        self.assertEqual(
            [TaskStatus.FAILED, TaskStatus.FAILED, TaskStatus.FAILED, TaskStatus.SUCCESS],
            [result.status for result in response.task_results],
        )
        self.assertEqual(
            "metric is 'x'; it should be one of cpu, disk, load, memory", response.task_results[1].result
        )

    def test_a_sample_that_cannot_be_published(self) -> None:
        self.publisher.failure = OSError("no server")
        (result,) = self.trigger(task("m", metric="memory")).task_results
        self.assertEqual(
            ("m", TaskStatus.FAILED, "no server"), (result.task_id, result.status, result.result)
        )

    def test_says_in_one_line_what_it_sampled(self) -> None:
        tasks = task("m", metric="memory"), task("x", metric="x")
        (line,) = self.lines(lambda: self.trigger(*tasks))
        value = self.publisher.published[0][1]["value"]
        self.assertEqual(
            f"memory {value:.1f} %, x failed: metric is 'x'; it should be one of cpu, disk, load, memory",
            line,
        )

    def test_has_nothing_to_say_without_tasks(self) -> None:
        self.assertEqual([], self.lines(self.trigger))


class DiskTests(HostMetricsMixin, TestCase):
    async def test_is_measured_in_a_thread(self) -> None:
        response = await self.plugin.on_trigger(timer(task("d", metric="disk", path="/")))
        ((subject, sample),) = self.publisher.published
        self.assertEqual("metrics.disk", subject)
        self.assertTrue(0 <= sample["value"] <= 100, sample)
        self.assertEqual(f"disk {sample['value']:.1f} %", response.task_results[0].result)

    async def test_a_path_that_does_not_exist(self) -> None:
        response = await self.plugin.on_trigger(timer(task("d", metric="disk", path="/no/such")))
        (result,) = response.task_results
        self.assertEqual(TaskStatus.FAILED, result.status)
        self.assertIn("/no/such", result.result)


class SampleTests(HostMetricsMixin, SynchronousTestCase):
    def sample(self, value: float, task_id: str = "c", metric: str = "cpu") -> str:
        """:returns: the result of its task."""
        event = nats({"task_id": task_id, "metric": metric, "value": value, "at": "2026-11-23T21:48:00Z"})
        (result,) = self.plugin.on_trigger(event).task_results
        self.assertEqual((task_id, TaskStatus.SUCCESS), (result.task_id, result.status))
        text: str = result.result
        return text

    def test_rolling_mean(self) -> None:
        self.assertEqual(
            ["cpu mean 1.0 % of 1", "cpu mean 2.0 % of 2", "cpu mean 3.0 % of 3", "cpu mean 6.0 % of 3"],
            [self.sample(value) for value in (1, 3, 5, 10)],
        )

    def test_every_task_has_its_own(self) -> None:
        self.sample(1)
        self.assertEqual("load mean 0.50 of 1", self.sample(0.5, "l", "load"))

    def test_a_message_that_is_no_sample_is_left_out(self) -> None:
        good = {"task_id": "c", "metric": "cpu", "value": 1}
        bad: list[Any] = [{**good, "value": "x"}, {**good, "metric": "x"}, {**good, "task_id": 1}]
        for payload in (None, "text", [], {}, *bad):
            event = nats(payload)
            with capturedLogs() as events:
                self.assertIsNone(self.plugin.on_trigger(event))
            (line,) = (event["log_format"].format(**event) for event in events)
            self.assertEqual("left out a message on metrics.cpu: no sample", line)

    def test_says_the_means_every_ten_seconds_at_most(self) -> None:
        def samples() -> None:
            self.sample(1)
            self.sample(0.5, "l", "load")

        self.assertEqual([], self.lines(samples))
        self.clock.advance(10)
        self.assertEqual(["rolling means: cpu 1.0 %, load 0.50"], self.lines(samples))
        self.clock.advance(9)
        self.assertEqual([], self.lines(samples))


class HeartbeatTests(HostMetricsMixin, SynchronousTestCase):
    def test_says_what_it_can_measure(self) -> None:
        self.assertEqual(
            {"supported_collectors": ["cpu", "disk", "load", "memory"]}, self.plugin.heartbeat_extra()
        )
