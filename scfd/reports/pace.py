"""How fast task results are sent: a back-off for the control plane, and one for each result not taken."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import define, evolve
from twisted.internet.interfaces import IDelayedCall

from scfd.reports.outbox import Entry

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


@define
class _Known:
    """
    :ivar tries: to how many tries the control plane responded without taking it.
    :ivar since: when it first did, by the reactor's clock.
    """

    backoff: Backoff
    tries: int
    since: float | None = None


class Tries:
    """
    What became so far of the results that are the first ones of their tasks.

    :param chance: spreads the pauses; gives numbers from 0 to below 1.
    """

    def __init__(self, clock: Any, chance: Callable[[], float]) -> None:
        self._clock = clock
        self._chance = chance
        self._known: dict[int, _Known] = {}

    def not_taken(self, entry: Entry) -> Entry:
        """Count a response that did not take a result. :returns: the entry with all of them."""
        known, now = self._of(entry), self._clock.seconds()
        if known.since is None:
            known.since = now - entry.waited
        known.tries += 1
        return evolve(entry, tries=known.tries, waited=now - known.since)

    def pause(self, entry: Entry) -> float:
        """:returns: seconds until the next try."""
        return self._of(entry).backoff.pause()

    def forget(self, entry: Entry) -> None:
        """It is delivered, put aside or discarded."""
        self._known.pop(entry.seq, None)

    def _of(self, entry: Entry) -> _Known:
        known = self._known.get(entry.seq)
        if known is None:
            known = self._known[entry.seq] = _Known(Backoff(self._chance), entry.tries)
        return known
