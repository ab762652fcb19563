"""Tests for scfd.triggers.timer.ticks."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import fail
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.triggers.timer.ticks import HOUR, MINUTE, SECOND, Tick


class HastyClock(Clock):
    """Its calls come 4 ms early, as when the wall clock is being slewed."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        return super().callLater(delay - 0.004 if delay > 0.1 else delay, callable, *args, **kw)


class TickTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(0.25)
        self.calls: list[float] = []

    def tick(self, interval: int = SECOND, function: Callable[[float], object] | None = None) -> Tick:
        tick = Tick(interval, function or self.calls.append, self.clock, self.clock.seconds)
        tick.startService()
        return tick

    def advance(self, *steps: float) -> None:
        self.clock.pump(steps)

    def test_begins_at_the_next_boundary(self) -> None:
        self.tick()
        self.advance(0.5)
        self.assertEqual(self.calls, [])
        self.advance(0.25)
        self.assertEqual(self.calls, [1.0])

    def test_or_at_once(self) -> None:
        Tick(SECOND, self.calls.append, self.clock, self.clock.seconds, at_once=True).startService()
        self.advance(0, 0.5, 0.25, 1)
        self.assertEqual(self.calls, [0.25, 1.0, 2.0])

    def test_each_boundary(self) -> None:
        self.tick()
        self.advance(*[0.25] * 15)
        self.assertEqual(self.calls, [1.0, 2.0, 3.0, 4.0])

    def test_minutes_and_hours_are_those_of_the_wall_clock(self) -> None:
        self.clock.advance(3_000)
        self.tick(MINUTE)
        hours: list[float] = []
        self.tick(HOUR, hours.append)
        self.advance(*[0.25] * (4 * 700))
        self.assertEqual(self.calls, [3060.0 + 60 * count for count in range(11)])
        self.assertEqual(hours, [3600.0])

    def test_a_late_tick_brings_the_next_back_to_its_boundary(self) -> None:
        self.tick()
        self.advance(0.75, 2.5, 0.5, 1)
        self.assertEqual(self.calls, [1.0, 3.5, 4.0, 5.0])

    def test_a_slightly_late_tick_does_not_shift_the_next(self) -> None:
        self.tick()
        self.advance(0.75, 1.005, 0.99, 0.005)
        self.assertEqual([round(now, 3) for now in self.calls], [1.0, 2.005, 3.0])

    def test_an_early_tick_is_followed_by_one_at_the_boundary(self) -> None:
        self.clock = HastyClock()
        self.tick()
        self.advance(*[0.002] * 1_000)
        self.assertEqual([round(now, 3) for now in self.calls], [0.996, 1.0, 1.996, 2.0])

    def test_a_failure_is_logged_and_the_next_tick_comes(self) -> None:
        def function(now: float) -> None:
            self.calls.append(now)
            raise KeyError("broken")

        self.tick(function=function)
        self.advance(0.75, 1)
        self.assertEqual(self.calls, [1.0, 2.0])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_a_deferred_that_fails_is_logged_at_once(self) -> None:
        self.tick(function=lambda now: fail(KeyError("broken")))
        self.advance(0.75)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_stop_before_the_first_tick(self) -> None:
        self.tick().stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        tick = self.tick()
        self.advance(0.75)
        tick.stopService()
        self.advance(5)
        self.assertEqual(self.calls, [1.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def stop_from_inside(self, *steps: float) -> None:
        tick = self.tick(function=lambda now: tick.stopService())
        self.advance(*steps)
        self.assertFalse(tick.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_from_inside_the_function(self) -> None:
        self.stop_from_inside(0.75)

    def test_stop_from_inside_a_late_tick(self) -> None:
        self.stop_from_inside(1.25)

    def test_can_be_started_again(self) -> None:
        tick = self.tick()
        self.advance(0.75)
        tick.stopService()
        self.advance(3.5)
        tick.startService()
        self.advance(0.5)
        self.assertEqual(self.calls, [1.0, 5.0])
