"""The next moments of thousands of cron expressions, in a heap."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from scfd.triggers.timer.cron import Cron

#: Seconds between two moments of an expression, at least.
SHORTEST_PERIOD = 1.0
#: Moments of one expression that are looked at after a standstill; 0.2 s of CPU. A day has 86,400 seconds.
MOST_MISSED = 100_000
#: Moments that are looked at before something else has its turn: 2 to 5 ms of CPU.
AT_ONCE = 1000
#: Schedules whose next moments are looked for at once: 1 ms of CPU. For more of them that begins so many
#: seconds later, when what they fired is on its way.
LOOKED_FOR_AT_ONCE, LOOK_AFTER = 50, 0.2


class Schedule:
    """
    The triggers that share one expression and one zone, and so their moments.

    :ivar due: the next moment, seconds since the epoch; infinity when there is none.
    """

    def __init__(self, cron: Cron, zone: tzinfo, entries: list[Any]) -> None:
        self.cron = cron
        self.entries = entries
        self.due = float("inf")
        self._zone = zone
        self._moments: Iterator[datetime] = iter(())
        self._next: datetime | None = None
        self._taken = False

    def start(self, now: float) -> None:
        """Begin after ``now``, seconds since the epoch."""
        self._moments = self.cron.moments_after(datetime.fromtimestamp(now, self._zone))
        self._advance()

    def _advance(self) -> None:
        self._next = next(self._moments, None)
        self.due = self._next.timestamp() if self._next is not None else float("inf")

    def take(self, now: float) -> Iterator[list[datetime]]:
        """
        Take the moments that are due, in steps; call `move_on` after the last.

        :returns: an empty list after each step of `AT_ONCE` moments, and at last every moment up to ``now``
            that has not been taken; at least one when it is due.
        """
        if self._next is not None and now < self.due + SHORTEST_PERIOD:
            self._taken = True
            yield [self._next]
            return
        taken: list[datetime] = []
        yield from self._walk(now, taken)
        if len(taken) == MOST_MISSED:
            # Too many to look at one by one: go on shortly before now, as those reached back.
            self.start(max(taken[-1].timestamp(), now - (taken[-1] - taken[0]).total_seconds() / 2))
            first, taken = taken[-1:], []
            yield from self._walk(now, taken)
            taken = taken or first
            if self.due <= now:
                self.start(now)
        yield taken

    def move_on(self) -> None:
        """
        Look for the moment after those that were taken.

        Apart from `take`, so that everything due is fired first: this takes 2 us.
        """
        if self._taken:
            self._taken = False
            self._advance()

    def _walk(self, now: float, taken: list[datetime]) -> Iterator[list[datetime]]:
        while self._next is not None and self.due <= now and len(taken) < MOST_MISSED:
            taken.append(self._next)
            self._advance()
            if len(taken) % AT_ONCE == 0:
                yield []

    def __lt__(self, other: Schedule) -> bool:
        return self.due < other.due


class Schedules:
    """
    Schedules ordered by their next moments: looking at ten thousand that are not due costs as much as at one.

    :param clock: waits.
    """

    def __init__(self, schedules: Iterable[Schedule], clock: IReactorTime) -> None:
        self._heap = list(schedules)
        self._clock = clock
        #: Those whose next moments are still to be looked for.
        self._taken: deque[Schedule] = deque()
        self._looking: IDelayedCall | None = None

    def start(self, now: float) -> None:
        """Begin, or begin anew, after ``now``, seconds since the epoch."""
        self._heap.extend(self._taken)
        self._taken.clear()
        for schedule in self._heap:
            schedule.start(now)
        heapq.heapify(self._heap)

    def stop(self) -> None:
        """Cancel what was to be looked for later."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def take_due(self, now: float) -> list[Schedule]:
        """:returns: those with a moment up to ``now``, in its order; `put_back` has to follow."""
        self._look_for_next(len(self._taken))
        due = []
        while self._heap and self._heap[0].due <= now:
            due.append(heapq.heappop(self._heap))
        return due

    def next_due(self) -> float:
        """:returns: when the next moment is due, seconds since the epoch; 0 while that is not known."""
        if self._taken:
            return 0.0
        return self._heap[0].due if self._heap else float("inf")

    def put_back(self, schedules: Iterable[Schedule]) -> None:
        """
        Have their next moments looked for: 2 us and the heap's part for each.

        Done at once, a thousand due in the same second would delay the last of their events by 3 ms.
        """
        self._taken.extend(schedules)
        if len(self._taken) <= LOOKED_FOR_AT_ONCE:
            self._look_for_next(len(self._taken))
        elif self._looking is None:
            self._looking = self._clock.callLater(LOOK_AFTER, self._look_on)

    def _look_on(self) -> None:
        self._looking = None
        self._look_for_next(min(LOOKED_FOR_AT_ONCE, len(self._taken)))
        if self._taken:
            self._looking = self._clock.callLater(0, self._look_on)

    def _look_for_next(self, count: int) -> None:
        for _ in range(count):
            schedule = self._taken.popleft()
            schedule.move_on()
            heapq.heappush(self._heap, schedule)
