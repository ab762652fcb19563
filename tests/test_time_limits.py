"""Tests for scfd.deferreds."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.deferreds import TimeLimits


class TimeLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = TimeLimits(self.clock)
        self.over: list[tuple[int, float]] = []

    def note(self, number: int) -> Callable[[], None]:
        return lambda: self.over.append((number, round(self.clock.seconds(), 3)))

    def test_each_at_its_time(self) -> None:
        for number, seconds in enumerate((3.0, 1.0, 2.0)):
            self.limits.start(seconds, self.note(number))
        self.clock.pump([0.5] * 8)
        self.assertEqual(self.over, [(1, 1.0), (2, 2.0), (0, 3.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer_for_all(self) -> None:
        for _ in range(100):
            self.limits.start(30.0, self.note(0))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stopped(self) -> None:
        first, second = self.note(1), self.note(2)
        self.limits.start(1.0, first)
        self.limits.start(2.0, second)
        self.limits.stop(first)
        self.clock.advance(1.5)
        self.assertEqual(self.over, [])
        self.limits.stop(second)
        self.limits.stop(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_stops_and_starts_others(self) -> None:
        other = self.note(1)

        def over() -> None:
            self.limits.stop(other)
            self.limits.start(1.0, self.note(2))

        self.limits.start(1.0, over)
        self.limits.start(1.0, other)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.over, [(2, 2.0)])

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20))
    def test_any_of_them(self, wanted: list[tuple[int, int]]) -> None:
        """Each (time limit, when it is stopped): called exactly when it was not stopped before."""
        self.setUp()
        calls = [self.note(number) for number in range(len(wanted))]
        for (seconds, _), call in zip(wanted, calls, strict=True):
            self.limits.start(seconds, call)
        for now in range(51):
            for (seconds, stopped), call in zip(wanted, calls, strict=True):
                if stopped == now < seconds:
                    self.limits.stop(call)
            self.clock.advance(1)
        expected = {(n, float(seconds)) for n, (seconds, stopped) in enumerate(wanted) if stopped >= seconds}
        self.assertEqual(set(self.over), expected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
