"""Work that is under way, so that it can be waited for."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed

T = TypeVar("T")


class InFlight:
    """A number of Deferreds that have not fired. ``len()`` says how many."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, deferred: Deferred[T]) -> Deferred[T]:
        """Count a Deferred until it fires; its result passes through."""
        self._count += 1
        return deferred.addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        return result

    def drained(self) -> Deferred[None]:
        """:returns: a Deferred that fires as soon as nothing is under way."""
        if not self._count:
            return succeed(None)
        self._waiting.append(Deferred())
        return self._waiting[-1]
