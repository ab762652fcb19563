"""What all connections to one server know of it together."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds that a new connection may wait for its first byte before another one is closed in its favour.
PATIENCE = 1.0


class Yielding(Protocol):
    """A pool, as `Activity` sees it."""

    def close_idle(self) -> bool:
        """Close a connection that has no request. :returns: whether there was one."""


class Activity:
    """
    Signs of life of a server, and fairness between the connections to it.

    A server that serves one connection at a time reads the next one only once that is closed. A pool that
    keeps its connection busy would keep all others waiting for ever, those of other pools included. So while
    a new connection has received nothing for `PATIENCE` seconds, one that has been served is closed each
    `PATIENCE` seconds, when it has no request. A server with more threads does not notice.

    :ivar received: how many times anything has arrived from the server, on any connection.
    :ivar give_way: that the next connection whose response is complete is to be closed.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pools: list[Yielding] = []
        #: Connections that wait for their first byte, the oldest first, and since when.
        self._unserved: dict[object, float] = {}
        self._timer: IDelayedCall | None = None
        self.received = 0
        self.give_way = False

    def add_pool(self, pool: Yielding) -> None:
        """Let the idle connections of a pool be closed in favour of others."""
        self._pools.append(pool)

    def began(self, connection: object) -> None:
        """Note that a new connection has its first request."""
        self._unserved[connection] = self._clock.seconds()
        if self._timer is None:
            self._timer = self._clock.callLater(PATIENCE, self._look)

    def served(self, connection: object) -> None:
        """Note that a connection has received something, or is gone."""
        self._unserved.pop(connection, None)
        if not self._unserved:
            self.give_way = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look(self) -> None:
        waited = self._clock.seconds() - next(iter(self._unserved.values()))
        if waited >= PATIENCE:
            self.give_way = not any(pool.close_idle() for pool in self._pools)
            waited = 0.0
        self._timer = self._clock.callLater(PATIENCE - waited, self._look)
