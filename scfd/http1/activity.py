"""What all connections to one server know of it together."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds that a new connection may wait for its first byte before another one is closed in its favour: of a
#: server that serves one connection at a time, and of one that has been seen to serve more.
PATIENCE, PATIENCE_WITH_MORE = 0.05, 1.0
#: Each so many times one is kept for `PATIENCE`, to see whether another one is served meanwhile.
KEPT_EACH = 8


class Yielding(Protocol):
    """A pool, as `Activity` sees it."""

    def close_idle(self) -> bool:
        """Close a connection that has no request. :returns: whether there was one."""


class Activity:
    """
    Signs of life of a server, and fairness between the connections to it.

    A server that serves one connection at a time reads the next one only once that is closed. A pool that
    keeps its connection busy would keep all others waiting for ever, those of other pools included. So when a
    new connection waits for its first byte for `PATIENCE` seconds, the one that has been served is closed as
    soon as it has no request. Where several that have been served are open, it is more likely that the
    request takes long: there it is one each `PATIENCE_WITH_MORE` seconds.

    :ivar received: how many times anything has arrived from the server, on any connection.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._pools: list[Yielding] = []
        #: Connections that wait for their first byte, the oldest first, and since when.
        self._unserved: dict[object, float] = {}
        #: Open connections that got it.
        self._served: set[object] = set()
        self._serves_more = False
        #: How many were closed in favour of others while the server was not seen to serve more; and when
        #: another connection had its turn last.
        self._closed, self._turned = 0, clock.seconds()
        self._timer: IDelayedCall | None = None
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
        self._unserved.pop(connection, None)
        self._served.add(connection)
        if len(self._served) > 1:
            self._serves_more, self._closed = True, 0
        if not self._serves_more:
            self._turned = self._clock.seconds()
        self._rest()

    def gone(self, connection: object) -> None:
        """Note that a connection is closed."""
        self._unserved.pop(connection, None)
        self._served.discard(connection)
        self._serves_more = self._serves_more and bool(self._served)
        self._rest()

    def _rest(self) -> None:
        if self._timer is not None and not self._unserved:
            self._timer.cancel()
            self._timer = None

    def gives_way(self) -> bool:
        """Whether a connection that has been served is to be closed in favour of others: ask, and do so."""
        due = self._due()
        if due:
            self._give_way()
        return due

    def _due(self) -> bool:
        if not self._unserved:
            return False
        now, since = self._clock.seconds(), next(iter(self._unserved.values()))
        if self._serves_more:
            return now - max(since, self._turned) >= PATIENCE_WITH_MORE
        return now - (since if self._closed % KEPT_EACH else max(since, self._turned)) >= PATIENCE

    def _give_way(self) -> None:
        self._closed += not self._serves_more
        self._turned = self._clock.seconds()

    def _look(self) -> None:
        self._timer = self._clock.callLater(PATIENCE, self._look)
        if self._due() and any(pool.close_idle() for pool in self._pools):
            self._give_way()
