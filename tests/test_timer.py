"""Tests for scfd.triggers.timer."""

from __future__ import annotations

import json
from datetime import datetime, timezone, tzinfo
from zoneinfo import ZoneInfo

from hypothesis import given, settings, strategies
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.config import TimerTrigger
from scfd.cron import Cron
from scfd.errors import PluginError
from scfd.interfaces import ITrigger
from scfd.metrics import Metrics
from scfd.model import TriggerEvent
from scfd.tasks import TaskStore
from scfd.triggers.timer import Timers
from scfd.wire import rfc3339

UTC = timezone.utc
#: 2032-01-01T00:00:00Z
START = datetime(2032, 1, 1, tzinfo=UTC).timestamp()


class Harness:
    """Timers that are started, and a note of what they dispatch."""

    def __init__(self, *triggers: tuple[str, str], start: float = START, zone: tzinfo = UTC) -> None:
        self.clock = Clock()
        self.clock.advance(start)
        self.tasks = TaskStore()
        self.metrics = Metrics()
        self.events: list[TriggerEvent] = []
        #: What the dispatch of the next events returns, by trigger.
        self.answers: dict[str, Deferred[None]] = {}
        configured = [TimerTrigger(name, Cron.parse(cron)) for name, cron in triggers]
        self.timers = Timers(configured, self._dispatch, self.tasks, self.metrics, self.clock, zone)
        self.timers.startService()

    def _dispatch(self, event: TriggerEvent) -> Deferred[None]:
        self.events.append(event)
        return self.answers.get(event.name, succeed(None))

    def advance(self, *seconds: float) -> None:
        """Let time pass, with a tick after each step."""
        for step in seconds:
            self.clock.advance(step)
            self.timers.tick(self.clock.seconds())

    def fired(self) -> list[tuple[str, str]]:
        return [(event.name, event.metadata["fire_time"]) for event in self.events]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"scfd_{name}", labels)


class TimersTests(SynchronousTestCase):
    def test_is_a_trigger(self) -> None:
        verifyObject(ITrigger, Harness().timers)

    def test_fires_at_its_moment_and_not_before(self) -> None:
        harness = Harness(("every-minute", "0 * * * * *"))
        harness.advance(30, 29.999)
        self.assertEqual(harness.events, [])
        harness.advance(0.001, 1, 58)
        self.assertEqual(harness.fired(), [("every-minute", "2032-01-01T00:01:00Z")])
        harness.advance(1)
        self.assertEqual(harness.fired()[1:], [("every-minute", "2032-01-01T00:02:00Z")])

    def test_start_up_does_not_fire_for_the_past(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        harness.timers.tick(START)
        self.assertEqual(harness.events, [])

    def test_the_event(self) -> None:
        harness = Harness(("on-the-hour", "0 0 * * * *"))
        task = {"task_id": "a", "invalid": 0, "task_params": '{"intervals": ["1h", "2h"]}'}
        harness.tasks.replace([task])
        harness.advance(3600.5)
        (event,) = harness.events
        self.assertEqual((event.type, event.name), ("timer", "on-the-hour"))
        self.assertEqual(event.metadata, {"granularity": "hour", "fire_time": "2032-01-01T01:00:00Z"})
        self.assertEqual(
            event.payload,
            {
                "tasks": (task,),
                "tasks_md5": harness.tasks.current_md5(),
                "jobs": [{"task": task, "interval": "1h"}],
            },
        )
        assert event.payload_json is not None
        self.assertEqual(json.loads(event.payload_json), json.loads(json.dumps(event.payload)))

    def test_all_triggers_of_a_moment_fire(self) -> None:
        harness = Harness(
            ("a", "0 * * * * *"), ("b", "*/30 * * * * *"), ("c", "0 * * * * *"), ("d", "15 * * * * *")
        )
        harness.advance(*[5] * 12)
        self.assertEqual(
            sorted(harness.fired()),
            [
                ("a", "2032-01-01T00:01:00Z"),
                ("b", "2032-01-01T00:00:30Z"),
                ("b", "2032-01-01T00:01:00Z"),
                ("c", "2032-01-01T00:01:00Z"),
                ("d", "2032-01-01T00:00:15Z"),
            ],
        )

    def test_triggers_fire_in_the_order_of_their_moments(self) -> None:
        harness = Harness(("late", "30 * * * * *"), ("early", "10 * * * * *"))
        harness.advance(45)
        self.assertEqual([name for name, _ in harness.fired()], ["early", "late"])

    def test_the_zone_is_that_of_the_node(self) -> None:
        harness = Harness(("at-eight", "0 0 8 * * *"), zone=ZoneInfo("Asia/Shanghai"), start=START - 1)
        harness.advance(1)
        self.assertEqual(harness.fired(), [("at-eight", "2032-01-01T00:00:00Z")])

    def test_a_trigger_that_has_fired_for_the_last_time(self) -> None:
        harness = Harness(("once", "5 0 0 1 1 ? 2032"), ("ever", "0 * * * * *"))
        harness.advance(10, 50)
        self.assertEqual(
            harness.fired(), [("once", "2032-01-01T00:00:05Z"), ("ever", "2032-01-01T00:01:00Z")]
        )

    def test_a_clock_that_is_set_back_does_not_fire_twice(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        harness.advance(3)
        for now in (START + 2, START + 3):
            harness.timers.tick(now)
        self.assertEqual(len(harness.events), 1)
        harness.timers.tick(START + 4)
        self.assertEqual(harness.fired()[1:], [("every-second", "2032-01-01T00:00:04Z")])

    def test_lateness_is_measured(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        harness.advance(1.25)
        self.assertEqual(harness.sample("timer_lateness_seconds_sum", trigger="every-second"), 0.25)


class MissedTests(SynchronousTestCase):
    def test_one_event_stands_for_all_that_were_missed(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        with capturedLogs() as logged:
            harness.advance(5.5)
        (event,) = harness.events
        self.assertEqual(
            event.metadata,
            {"granularity": "second", "fire_time": "2032-01-01T00:00:05Z", "missed_fires": "4"},
        )
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            ["every-second: 4 fires were missed; one event stands for them all"],
        )

    @settings(deadline=None)
    @given(
        strategies.sampled_from(
            [
                ("* * * * * *", 1, 0),
                ("*/7 * * * * *", None, 7),
                ("0 * * * * *", 60, 0),
                ("30 */2 * * * *", 120, 30),
            ]
        ),
        strategies.floats(0, 200),
        strategies.lists(
            strategies.floats(0, 3) | strategies.floats(0, 400) | strategies.just(1.0), max_size=30
        ),
    )
    def test_no_moment_is_lost_or_doubled(
        self, cron: tuple[str, int | None, int], start: float, steps: list[float]
    ) -> None:
        text, period, number = cron
        harness = Harness(("t", text), start=START + start)

        def matches(second: int) -> bool:
            return second % 60 % number == 0 if period is None else second % period == number

        for step in steps:
            before = harness.clock.seconds()
            seen = len(harness.events)
            harness.advance(step)
            window = range(int(before - START) + 1, int(harness.clock.seconds() - START) + 1)
            expected = [second for second in window if matches(second)]
            events = harness.events[seen:]
            self.assertEqual(len(events), min(1, len(expected)))
            if expected:
                self.assertEqual(events[0].metadata["fire_time"], rfc3339(START + expected[-1]))
                self.assertEqual(int(events[0].metadata.get("missed_fires", "0")), len(expected) - 1)


class OverlapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.harness = Harness(("slow", "* * * * * *"), ("quick", "* * * * * *"))
        self.under_way: Deferred[None] = Deferred()
        self.harness.answers["slow"] = self.under_way

    def test_a_fire_is_skipped_while_the_last_event_is_under_way(self) -> None:
        with capturedLogs() as logged:
            self.harness.advance(1, 1, 1)
        self.assertEqual([name for name, _ in self.harness.fired()], ["slow", "quick", "quick", "quick"])
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            ["slow: its last event is still under way; this fire is skipped"] * 2,
        )
        self.assertEqual(self.harness.sample("timer_skipped_total", trigger="slow", reason="overlap"), 2.0)
        del self.harness.answers["slow"]
        self.under_way.callback(None)
        self.harness.advance(1)
        self.assertIn(("slow", "2032-01-01T00:00:04Z"), self.harness.fired())

    def test_a_failed_event_does_not_end_the_trigger(self) -> None:
        self.harness.answers["slow"] = fail(PluginError("broken"))
        self.harness.advance(1)
        del self.harness.answers["slow"]
        self.harness.advance(1)
        self.assertEqual([name for name, _ in self.harness.fired()].count("slow"), 2)

    def test_drain_waits_for_events_and_fires_no_more(self) -> None:
        self.harness.advance(1)
        drained = self.harness.timers.drain()
        self.harness.advance(1)
        self.assertEqual(len(self.harness.events), 2)
        self.assertNoResult(drained)
        self.under_way.callback(None)
        self.successResultOf(drained)

    def test_drain_with_nothing_under_way(self) -> None:
        self.successResultOf(self.harness.timers.drain())

    def test_drain_from_inside_an_event(self) -> None:
        harness = self.harness
        harness.answers.clear()
        under_way: Deferred[None] = Deferred()
        harness.answers["slow"] = under_way
        harness.advance(1)
        under_way.addCallback(lambda _: harness.timers.drain()).callback(None)
        harness.advance(1)
        self.assertEqual(len(harness.events), 2)
