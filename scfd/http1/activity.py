"""What all connections to one server know of it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds that a new connection may wait for its first byte before others are closed in its favour.
PATIENCE = 0.1
#: The same for one that a newer connection has overtaken: more likely its request takes long.
PATIENCE_OVERTAKEN = 1.0


class Yielding(Protocol):
    """A pool, as `Activity` sees it."""

    def close_idle(self) -> bool:
        """Close a connection that has no request. :returns: whether there was one."""


class Activity:
    """
    Signs of life of a server, and fairness between the connections to it.

    A server that serves one connection at a time reads the next one only once that is closed. A pool that
    keeps its connection busy would keep all others waiting for ever, those of other pools included. So while
    the oldest new connection has received nothing for `PATIENCE` seconds, each one that has been served is
    closed when its response is complete, and an idle one each `PATIENCE` seconds.

    Servers accept connections in their order. Once a newer one is served, the older one waits for its
    response, and not for its turn: a server with more threads loses no more than a few connections by a
    request that takes long. Where several processes share a port it may wait for its turn all the same: one
    connection is closed each `PATIENCE_OVERTAKEN` seconds.

    :ivar received: how many times anything has arrived from the server, on any connection.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pools: list[Yielding] = []
        #: Connections that wait for their first byte, the oldest first, and since when; those that a newer
        #: one has overtaken are in the second.
        self._unserved: dict[object, float] = {}
        self._overtaken: dict[object, float] = {}
        self._timer: IDelayedCall | None = None
        #: When one was closed for one that was overtaken.
        self._gave_way = clock.seconds()
        self.received = 0

    def add_pool(self, pool: Yielding) -> None:
        """Let the idle connections of a pool be closed in favour of others."""
        self._pools.append(pool)

    def began(self, connection: object) -> None:
        """Note that a new connection has its first request."""
        self._unserved[connection] = self._clock.seconds()
        if self._timer is None:
            self._timer = self._clock.callLater(PATIENCE, self._look)

    def served(self, connection: object) -> None:
        """Note that a new connection has received something."""
        if connection in self._unserved:
            while (oldest := next(iter(self._unserved))) is not connection:
                self._overtaken[oldest] = self._unserved.pop(oldest)
        self.gone(connection)

    def gone(self, connection: object) -> None:
        """Note that a new connection waits no more."""
        self._unserved.pop(connection, None)
        self._overtaken.pop(connection, None)
        if self._timer is not None and not (self._unserved or self._overtaken):
            self._timer.cancel()
            self._timer = None

    def gives_way(self) -> bool:
        """Whether a connection that has been served is to be closed in favour of others: ask, and do so."""
        due = self._due()
        if due:
            self._gave_way = self._clock.seconds()
        return due

    def _due(self) -> bool:
        if self._unserved and self._waited(self._unserved) >= PATIENCE:
            return True
        waited = self._waited(self._overtaken) if self._overtaken else 0.0
        return min(waited, self._clock.seconds() - self._gave_way) >= PATIENCE_OVERTAKEN

    def _waited(self, connections: Mapping[object, float]) -> float:
        """:returns: seconds that the oldest one has waited."""
        return self._clock.seconds() - next(iter(connections.values()))

    def _look(self) -> None:
        self._timer = self._clock.callLater(PATIENCE, self._look)
        if self._due() and any(pool.close_idle() for pool in self._pools):
            self._gave_way = self._clock.seconds()
