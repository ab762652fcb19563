"""Tests for scfd.triggers.timer.trigger."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from attrs import evolve
from hypothesis import strategies
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.config import TimerSettings
from scfd.errors import PluginError, PluginUnavailableError
from scfd.events.event import TriggerEvent
from scfd.events.tasks import TaskStore
from scfd.events.wire import rfc3339
from scfd.interfaces import ITrigger
from scfd.status.context import Context
from scfd.status.readiness import Availability
from scfd.triggers.timer import trigger as timer
from scfd.triggers.timer.cron import Cron
from scfd.triggers.timer.moments import AT_ONCE, LOOK_AFTER, LOOKED_FOR_AT_ONCE, MOST_MISSED
from scfd.triggers.timer.trigger import FIRING, Timers
from tests.properties import given

UTC = timezone.utc
#: 2032-01-01T00:00:00Z
START = datetime(2032, 1, 1, tzinfo=UTC).timestamp()


class Harness:
    """Timers that are started, and a note of what they dispatch."""

    def __init__(
        self, *triggers: tuple[str, str], start: float = START, zone: tzinfo = UTC, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.clock.advance(start)
        self.tasks = TaskStore()
        self.context = Context(self.clock, self.clock.seconds, availability=Availability(True))
        self.metrics, self.availability = self.context.metrics, self.context.availability
        self.events: list[TriggerEvent] = []
        #: What the dispatch of the next events returns, by trigger.
        self.answers: dict[str, Deferred[None]] = {}
        configured = [TimerSettings(name, Cron.parse(cron), **settings) for name, cron in triggers]
        self.timers = Timers(
            configured,
            self._dispatch,
            self.tasks,
            zone,
            self.context,
        )
        self.timers.startService()

    def _dispatch(self, event: TriggerEvent) -> Deferred[None]:
        self.events.append(event)
        return self.answers.get(event.name, succeed(None))

    def advance(self, *seconds: float) -> None:
        """Let time pass as it does: with a tick each second, and one after each step."""
        for step in seconds:
            while step > 1:
                self.freeze(1)
                step -= 1
            self.freeze(step)

    def freeze(self, seconds: float) -> None:
        """Let time pass with a tick at its end only."""
        self.clock.advance(seconds)
        self.timers.tick(self.clock.seconds())
        self.clock.advance(0)  # what is done in steps

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
        task = dict(harness.tasks.get_all()[0])
        harness.advance(3600.5)
        (event,) = harness.events
        self.assertEqual((event.type, event.name), ("timer", "on-the-hour"))
        self.assertEqual(event.metadata, {"granularity": "hour", "fire_time": "2032-01-01T01:00:00Z"})
        self.assertEqual(
            event.payload,
            {
                "tasks": (task,),
                "tasks_md5": harness.tasks.current_md5(),
                "jobs": ({"task": task, "interval": "1h"},),
            },
        )
        self.assertEqual(json.loads(event.to_json())["payload"], json.loads(json.dumps(event.payload)))

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
        self.assertEqual(len(harness.events), 3)
        harness.timers.tick(START + 4)
        self.assertEqual(harness.fired()[3:], [("every-second", "2032-01-01T00:00:04Z")])

    def test_a_fire_that_raises_costs_nobody_a_later_one(self) -> None:
        """Such as a fault in the dispatcher."""
        harness = Harness(("a", "* * * * * *"), ("b", "*/1 * * * * *"))
        harness.clock.advance(1)
        self.patch(harness.timers, "_dispatch", lambda event: 1 / 0)
        harness.timers.tick(harness.clock.seconds())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.patch(harness.timers, "_dispatch", harness._dispatch)
        harness.advance(1, 1)
        self.assertEqual(
            [moment for name, moment in harness.fired() if name == "a"][-1:], ["2032-01-01T00:00:03Z"]
        )
        self.assertEqual(
            [moment for name, moment in harness.fired() if name == "b"][-1:], ["2032-01-01T00:00:03Z"]
        )

    def test_everything_that_is_due_is_fired_before_the_next_moments_are_looked_for(self) -> None:
        asked: list[int] = []
        harness = Harness(("a", "* * * * * *"), ("b", "*/1 * * * * *"))
        for schedule in harness.timers._schedules._heap:
            self.patch(schedule, "_advance", lambda: asked.append(len(harness.events)))
        harness.advance(1)
        self.assertEqual(asked, [2, 2])

    def test_thousands_due_at_once_let_others_have_their_turn(self) -> None:
        """Those of one expression, and those of many; each fires once, and again in its next second."""
        harness = Harness(
            *[(f"a{n}", "* * * * * *") for n in range(20)],
            *[(f"b{n}", f"*/1 * * * * * 1970-{2099 - n}") for n in range(20)],
        )
        self.patch(harness.timers, "_dispatch", self.slow(harness, FIRING / 4.5))
        seen: list[int] = []

        def another() -> None:
            seen.append(len(harness.events))
            if len(seen) < 8:
                harness.clock.callLater(0, another)

        for count in (40, 80):
            harness.clock.advance(1)
            harness.timers.tick(harness.clock.seconds())
            another()
            harness.clock.advance(0)
            self.assertEqual((len(harness.events), len(set(harness.fired()))), (count, count))
        self.assertEqual(seen[:8], list(range(5, 45, 5)))

    def slow(self, harness: Harness, seconds: float) -> Callable[[TriggerEvent], Any]:
        def dispatch(event: TriggerEvent) -> Any:
            harness.clock.rightNow += seconds
            return dispatch_at_once(event)

        dispatch_at_once = harness._dispatch
        return dispatch

    def noted(self, notes: list[str], function: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            notes.append("called")
            function()

        return call

    def test_with_many_next_moments_are_looked_for_later(self) -> None:
        harness = Harness(
            *[
                (f"t{n}", f"* * * * * * {1970 + n % 25}-1999/{n // 25 + 1},2000-2099")
                for n in range(LOOKED_FOR_AT_ONCE * 2 + 1)
            ]
        )
        count = len(harness.timers._schedules._heap)
        self.assertEqual(count, LOOKED_FOR_AT_ONCE * 2 + 1)
        asked: list[str] = []
        for schedule in harness.timers._schedules._heap:
            self.patch(schedule, "_advance", self.noted(asked, schedule._advance))
        harness.freeze(1)
        self.assertEqual((len(harness.events), len(asked)), (count, 0))
        harness.clock.advance(LOOK_AFTER)
        self.assertEqual((len(asked), harness.clock.getDelayedCalls()), (count, []))
        harness.freeze(1 - LOOK_AFTER)
        self.assertEqual(len(harness.events), 2 * count)
        # The next tick comes before they are looked for.
        harness.freeze(1)
        self.assertEqual(len(harness.events), 3 * count)
        harness.timers.stopService()
        self.assertEqual(harness.clock.getDelayedCalls(), [])

    def test_lateness_is_measured(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        harness.freeze(1.25)
        self.assertEqual(harness.sample("timer_lateness_seconds_sum", trigger="every-second"), 0.25)


class MissedTests(SynchronousTestCase):
    def test_one_event_stands_for_all_that_were_missed(self) -> None:
        harness = Harness(("every-second", "* * * * * *"))
        with capturedLogs() as logged:
            harness.freeze(5.5)
        (event,) = harness.events
        self.assertEqual(
            event.metadata,
            {"granularity": "second", "fire_time": "2032-01-01T00:00:05Z", "missed_fires": "5"},
        )
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            ["the process stood still for 5.5 s: 5 timer fires were missed"],
        )
        harness.advance(1)
        self.assertEqual(harness.events[1].metadata["fire_time"], "2032-01-01T00:00:06Z")
        self.assertNotIn("missed_fires", harness.events[1].metadata)

    def test_all_are_made_up_one_after_another(self) -> None:
        harness = Harness(("t", "* * * * * *"), misfire="all")
        under_way: Deferred[None] = Deferred()
        harness.answers["t"] = under_way
        harness.freeze(3.5)
        self.assertEqual(len(harness.events), 1)
        del harness.answers["t"]
        under_way.callback(None)
        self.assertEqual([moment[-3:-1] for _, moment in harness.fired()], ["01", "02", "03"])
        self.assertEqual([event.metadata["missed_fires"] for event in harness.events], ["1"] * 3)

    def test_many_that_end_at_once_are_made_up_in_order_and_in_turns(self) -> None:
        harness = Harness(("t", "* * * * * *"), misfire="all")
        harness.clock.advance(5000)
        harness.timers.tick(harness.clock.seconds())
        with capturedLogs() as logged:
            while len(harness.events) < 5000:
                before = len(harness.events)
                harness.clock.advance(0)
                self.assertGreater(len(harness.events), before)
        self.assertEqual([entry for entry in logged if "failure" in str(entry.get("log_level"))], [])
        moments = [moment for _, moment in harness.fired()]
        self.assertEqual(moments, sorted(moments))
        self.assertEqual(len(set(moments)), 5000)

    def test_none_is_made_up(self) -> None:
        harness = Harness(("t", "* * * * * *"), misfire="skip")
        harness.freeze(3.5)
        self.assertEqual(harness.events, [])
        self.assertEqual(harness.sample("timer_skipped_total", trigger="t", reason="misfire"), 3.0)
        harness.advance(0.5)
        self.assertEqual(harness.fired(), [("t", "2032-01-01T00:00:04Z")])

    def test_what_was_missed_too_long_ago_is_not_made_up(self) -> None:
        harness = Harness(("t", "* * * * * *"), misfire="all", misfire_grace=1.6)
        harness.freeze(3.5)
        self.assertEqual([moment[-3:-1] for _, moment in harness.fired()], ["02", "03"])
        self.assertEqual(harness.sample("timer_skipped_total", trigger="t", reason="misfire grace"), 1.0)

    def test_a_process_frozen_in_the_middle_of_an_event(self) -> None:
        """The event that is under way still does not cost the one that makes up for the rest."""
        harness = Harness(("t", "* * * * * *"))
        under_way: Deferred[None] = Deferred()
        harness.answers["t"] = under_way
        harness.advance(1)
        harness.freeze(6)
        del harness.answers["t"]
        under_way.callback(None)
        self.assertEqual([event.metadata.get("missed_fires") for event in harness.events], [None, "6"])

    def test_a_standstill_without_fires_is_told_too(self) -> None:
        harness = Harness(("t", "0 0 0 1 1 ? 2033"))
        with capturedLogs() as logged:
            harness.freeze(60)
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            ["the process stood still for 60.0 s: 0 timer fires were missed"],
        )

    def test_a_long_standstill_is_bounded(self) -> None:
        harness = Harness(("t", "* * * * * *"))
        harness.freeze(3 * 86400)
        (event,) = harness.events
        self.assertEqual(event.metadata["fire_time"], "2032-01-04T00:00:00Z")
        self.assertEqual(event.metadata["missed_fires"], "50000")
        harness.advance(1)
        self.assertEqual(harness.events[1].metadata["fire_time"], "2032-01-04T00:00:01Z")

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
        one = Harness(("t", text), start=START + start)
        every = Harness(("t", text), start=START + start, misfire="all")

        def matches(second: int) -> bool:
            return second % 60 % number == 0 if period is None else second % period == number

        for step in steps:
            before, seen, seen_of_all = one.clock.seconds(), len(one.events), len(every.events)
            one.freeze(step)
            every.freeze(step)
            window = range(int(before - START) + 1, int(one.clock.seconds() - START) + 1)
            expected = [rfc3339(START + second) for second in window if matches(second)]
            self.assertEqual([moment for _, moment in one.fired()[seen:]], expected[-1:])
            self.assertEqual([moment for _, moment in every.fired()[seen_of_all:]], expected)


class AvailabilityTests(SynchronousTestCase):
    """While the plugin can take no events, fires are missed; then the misfire rule applies."""

    def fires_around_five_seconds_without_a_plugin(self, misfire: str) -> list[tuple[str, str | None]]:
        harness = Harness(("t", "* * * * * *"), misfire=misfire)
        harness.advance(1)
        harness.availability.set(False)
        harness.advance(5)
        self.assertEqual(len(harness.events), 1)
        harness.availability.set(True)
        harness.advance(1)
        return [
            (event.metadata["fire_time"][-3:-1], event.metadata.get("missed_fires"))
            for event in harness.events
        ]

    def test_once(self) -> None:
        fires = self.fires_around_five_seconds_without_a_plugin("once")
        self.assertEqual(fires, [("01", None), ("07", "5")])

    def test_all(self) -> None:
        fires = self.fires_around_five_seconds_without_a_plugin("all")
        missed = [(f"0{second}", "1") for second in range(2, 7)]
        self.assertEqual(fires, [("01", None), *missed, ("07", None)])

    def test_skip(self) -> None:
        fires = self.fires_around_five_seconds_without_a_plugin("skip")
        self.assertEqual(fires, [("01", None), ("07", None)])


class UnsentTests(SynchronousTestCase):
    """A fire that never reached the plugin is a missed one."""

    def fires_when_the_second_is_refused(self, misfire: str) -> list[str]:
        harness = Harness(("t", "* * * * * *"), misfire=misfire)
        harness.advance(1)
        refused = harness.answers["t"] = Deferred()
        harness.advance(1)
        harness.availability.set(False)  # the adapter says so first
        refused.errback(PluginUnavailableError("can't connect"))
        del harness.answers["t"]
        harness.advance(2)
        self.assertEqual(len(harness.events), 2)
        harness.availability.set(True)
        harness.advance(1)
        return [event.metadata["fire_time"][-3:-1] for event in harness.events]

    def test_it_is_tried_again_at_the_next_tick_while_nobody_says_that_the_plugin_is_away(self) -> None:
        harness = Harness(("t", "0 * * * * *"))
        harness.answers["t"] = fail(PluginUnavailableError("can't connect"))
        harness.advance(60)
        self.assertEqual(len(harness.events), 1)
        harness.answers["t"] = fail(PluginUnavailableError("can't connect"))
        harness.advance(1)
        del harness.answers["t"]
        harness.advance(1, 1, 1)
        moments = [
            (event.metadata["fire_time"][-6:-1], event.metadata.get("missed_fires"))
            for event in harness.events
        ]
        self.assertEqual(moments, [("01:00", None), ("01:00", "1"), ("01:00", "1")])

    def test_the_disk_takes_no_results(self) -> None:
        """The event under way waits for it: what falls due meanwhile is missed, not an overlap."""
        for misfire, fires in (("once", ["01", "04"]), ("all", ["01", "02", "03", "04"]), ("skip", ["01"])):
            harness = Harness(("t", "* * * * * *"), misfire=misfire)
            waits = harness.answers["t"] = Deferred()
            harness.advance(1)
            del harness.answers["t"]
            harness.context.disk.set(False)
            harness.advance(2.5)
            harness.context.disk.set(True)
            waits.callback(None)
            harness.advance(0.5)
            seconds = [event.metadata["fire_time"][-3:-1] for event in harness.events]
            self.assertEqual(seconds[: len(fires)], fires)
            self.assertEqual(harness.context.disk.available, True)

    def test_once(self) -> None:
        self.assertEqual(self.fires_when_the_second_is_refused("once"), ["01", "02", "02", "05"])

    def test_all(self) -> None:
        self.assertEqual(self.fires_when_the_second_is_refused("all"), ["01", "02", "02", "03", "04", "05"])

    def test_skip(self) -> None:
        self.assertEqual(self.fires_when_the_second_is_refused("skip"), ["01", "02", "05"])


class ClockTests(SynchronousTestCase):
    """The wall clock against the one that nobody sets."""

    def setUp(self) -> None:
        self.wall = START
        self.steady = Clock()
        self.events: list[TriggerEvent] = []
        self.timers = Timers(
            [TimerSettings("t", Cron.parse("* * * * * *"))],
            self.dispatch,
            TaskStore(),
            UTC,
            Context(self.steady, lambda: self.wall, availability=Availability(True)),
        )
        self.timers.startService()

    def dispatch(self, event: TriggerEvent) -> Deferred[None]:
        self.events.append(event)
        return succeed(None)

    def said_after(self, wall: float, steady: float) -> list[str]:
        self.wall += wall
        self.steady.advance(steady)
        with capturedLogs() as logged:
            self.timers.tick(self.wall)
            for _ in range(5):
                self.steady.advance(0)  # thousands of moments are looked at in steps
        return [formatEvent(entry) for entry in logged]

    def test_nothing_to_tell(self) -> None:
        self.assertEqual(self.said_after(1, 1) + self.said_after(1.3, 1.3), [])

    def test_a_clock_that_is_set_forward(self) -> None:
        self.assertEqual(
            self.said_after(3601, 1), ["the clock jumped forward by 3601.0 s: 3601 timer fires were missed"]
        )
        self.assertEqual(self.events[0].metadata["missed_fires"], "3601")

    def test_a_clock_that_is_set_back(self) -> None:
        self.said_after(1, 1)
        self.assertEqual(
            self.said_after(-59, 1),
            [
                "the clock was set back by 60.0 s: "
                "timers wait until it has caught up, so that none fires twice"
            ],
        )
        self.assertEqual(self.said_after(1, 1), [])
        self.assertEqual(len(self.events), 1)
        self.said_after(60, 60)
        self.assertEqual(self.events[1].metadata["missed_fires"], "2")

    def test_a_clock_that_is_set_back_by_more_is_not_waited_for(self) -> None:
        self.said_after(1, 1)
        self.assertEqual(
            self.said_after(-3599, 1),
            [
                "the clock was set back by 3600.0 s: "
                "timers go on from there, and may fire again for moments that have been"
            ],
        )
        self.assertEqual(self.said_after(1, 1), [])
        fired = [event.metadata["fire_time"] for event in self.events]
        self.assertEqual(fired, ["2032-01-01T00:00:01Z", "2031-12-31T23:00:03Z"])

    def test_set_forward_by_an_hour_and_back(self) -> None:
        self.said_after(1, 1)
        self.said_after(3601, 1)
        self.said_after(-3599, 1)
        for _ in range(3):
            self.assertEqual(self.said_after(1, 1), [])
        fired = [event.metadata["fire_time"][-9:-1] for event in self.events]
        self.assertEqual(fired, ["00:00:01", "01:00:02", "00:00:04", "00:00:05", "00:00:06"])

    def test_set_forward_by_56_years(self) -> None:
        """Looked at in steps; meanwhile other things have their turn."""
        years = 56 * 365.25 * 86400
        turns: list[Deferred[None]] = []

        def later(clock: object, seconds: float) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        self.patch(timer, "deferLater", later)
        self.assertEqual(self.said_after(years, 1), [])
        steps = 0
        while turns:
            self.assertEqual(self.events, [])
            steps += 1
            turns.pop().callback(None)
        self.assertGreaterEqual(steps, (MOST_MISSED + MOST_MISSED // 2) // AT_ONCE)
        self.assertEqual(self.events[0].metadata["missed_fires"], "50000")
        self.said_after(1, 1)
        self.assertEqual(len(self.events), 2)
        self.assertNotIn("missed_fires", self.events[1].metadata)


class ManyFiresTests(SynchronousTestCase):
    """Hundreds of fires are made up for, whose events end at once."""

    def test_slow_events_take_turns_with_everything_else(self) -> None:
        turns = [0]

        class TurningClock(Clock):
            def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> IDelayedCall:
                def turn() -> None:
                    turns.append(0)
                    callable(*args, **kw)

                return super().callLater(delay, turn)

        clock = TurningClock()

        def slowly(event: TriggerEvent) -> Deferred[None]:
            clock.rightNow += 0.002
            turns[-1] += 1
            return succeed(None)

        rule = TimerSettings("t", Cron.parse("* * * * * *"), misfire="all")
        triggers = [evolve(rule, name=str(number)) for number in range(3)]
        wall = [START]
        context = Context(clock, lambda: wall[0], availability=Availability(True))
        timers = Timers(triggers, slowly, TaskStore(), UTC, context)
        timers.startService()
        wall[0] += 20
        timers.tick(wall[0])
        clock.advance(0)
        self.assertEqual(sum(turns), 60)
        self.assertLessEqual(max(turns[1:]), 3)


class SettingsTests(SynchronousTestCase):
    def test_a_zone_of_its_own(self) -> None:
        harness = Harness(("t", "0 0 8 * * *"), start=START - 1, timezone=ZoneInfo("Asia/Shanghai"))
        harness.advance(1)
        self.assertEqual(harness.fired(), [("t", "2032-01-01T00:00:00Z")])

    def test_a_time_limit_of_its_own(self) -> None:
        harness = Harness(("t", "* * * * * *"), timeout=7.5)
        harness.advance(1)
        self.assertEqual(harness.events[0].timeout, 7.5)

    def test_only_when_a_job_is_due(self) -> None:
        harness = Harness(("t", "0 * * * * *"), jobs_only=True)
        harness.advance(60)
        self.assertEqual(harness.events, [])
        harness.tasks.replace([{"task_id": "a", "task_params": '{"intervals": ["5m"]}'}])
        harness.advance(*[60] * 5)
        self.assertEqual(harness.fired(), [("t", "2032-01-01T00:05:00Z")])
        self.assertEqual(harness.sample("timer_skipped_total", trigger="t", reason="no jobs"), 5.0)

    def test_overlapping_fires_queue(self) -> None:
        harness = Harness(("t", "* * * * * *"), overlap="queue")
        under_way: Deferred[None] = Deferred()
        harness.answers["t"] = under_way
        harness.advance(1, 1, 1)
        self.assertEqual(len(harness.events), 1)
        del harness.answers["t"]
        under_way.callback(None)
        self.assertEqual([moment[-3:-1] for _, moment in harness.fired()], ["01", "02", "03"])

    def test_the_queue_is_bounded(self) -> None:
        self.patch(timer, "LONGEST_QUEUE", 2)
        harness = Harness(("t", "* * * * * *"), overlap="queue")
        under_way: Deferred[None] = Deferred()
        harness.answers["t"] = under_way
        harness.advance(1, 1, 1, 1)
        del harness.answers["t"]
        under_way.callback(None)
        self.assertEqual([moment[-3:-1] for _, moment in harness.fired()], ["01", "03", "04"])
        self.assertEqual(harness.sample("timer_skipped_total", trigger="t", reason="queue full"), 1.0)

    def test_overlapping_fires_side_by_side(self) -> None:
        harness = Harness(("t", "* * * * * *"), overlap="allow")
        harness.answers["t"] = Deferred()
        harness.advance(1, 1, 1)
        self.assertEqual(len(harness.events), 3)


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
            ["slow: its last event is still under way; this fire is skipped"],
        )
        self.assertEqual(self.harness.sample("timer_skipped_total", trigger="slow", reason="overlap"), 2.0)
        del self.harness.answers["slow"]
        with capturedLogs() as logged:
            self.under_way.callback(None)
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            ["slow: 2 fires were skipped while an event was under way"],
        )
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
