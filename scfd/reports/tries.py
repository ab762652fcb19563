"""How often results have been tried in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, evolve

from scfd.reports.outbox import Entry
from scfd.reports.pace import Backoff


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
