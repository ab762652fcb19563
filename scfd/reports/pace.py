"""How fast task results are sent: one back-off for the control plane, whatever number of results waits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

#: Tries under way at a time, at most.
CONCURRENCY = 16
#: Seconds before the second try; doubled before each further one, up to the longest.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
#: Each pause is shorter by up to this part, so that many nodes don't come back at the same moment.
_JITTER = 0.25


class Backoff:
    """
    Pauses that are doubled.

    :param chance: gives numbers from 0 to below 1.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._next = FIRST_BACKOFF

    def pause(self) -> float:
        """:returns: how many seconds to wait this time."""
        pause = self._next
        self._next = min(pause * 2, LONGEST_BACKOFF)
        return pause * (1 - _JITTER * self._chance())

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._next = FIRST_BACKOFF


class Pace:
    """
    Says when the next try may begin.

    After a failure of the control plane there is a pause, then one try. Each result that it takes doubles the
    number of tries under way, from 1 up to `CONCURRENCY`.

    A response that does not take a result says nothing about the control plane, which may take all others: it
    counts as failed once it has taken none of `CONCURRENCY` tasks in a row.

    :param go_on: called when a pause is over.
    """

    def __init__(
        self, clock: Any, go_on: Callable[[], object], chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._go_on = go_on
        self._backoff = Backoff(chance)
        self._most = CONCURRENCY
        self._pauses = 0
        self._paused = self._stopped = False
        self._timer: IDelayedCall | None = None
        self._not_taken: set[str] = set()

    def may_begin(self, under_way: int) -> bool:
        """Whether a try may begin while so many are under way."""
        return not self._paused and under_way < self._most

    def begin(self) -> int:
        """:returns: what `failed` and `not_taken` need to know of the try that begins."""
        return self._pauses

    def well(self) -> None:
        """The control plane has taken a result, or refused it for good: it works."""
        self._not_taken.clear()
        self._backoff.reset()
        self._most = min(self._most * 2, CONCURRENCY)
        self._end_pause()

    def not_taken(self, begun: int, task_id: str) -> None:
        """The control plane has responded, but not taken the result of this task."""
        self._not_taken.add(task_id)
        if len(self._not_taken) >= CONCURRENCY:
            self.failed(begun)

    def failed(self, begun: int) -> None:
        """The control plane could not be asked. Tries that began before the last pause change nothing."""
        if begun != self._pauses:
            return
        self._pauses += 1
        self._most = 1
        self._paused = True
        if not self._stopped:
            self._timer = self._clock.callLater(self._backoff.pause(), self._over)

    def stop(self) -> None:
        """A pause that lasts, or comes, does not end any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self._paused = False
        self._go_on()

    def _end_pause(self) -> None:
        self._paused = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
