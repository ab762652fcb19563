"""What the connections of a server have in common: limits, who responds, deadlines."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from scfd.http1.contract import (
    Backend,
    Caller,
    Limits,
    LocalResponders,
    Observer,
    RefusedError,
    Request,
    Responder,
)
from scfd.http1.heads import ForwardingHeaders
from scfd.http1.turn import Turn

#: Bytes that are read from one connection before others have their turn: 10 ms of work at the very worst,
#: which is chunks of one byte.
_READ = 128 * 1024
#: Connections beyond `max_connections` that are let in for what is served locally: a platform that gets no
#: response from /health would kill a node that is only busy.
RESERVE = 64
#: Seconds that these have to send their request.
RESERVE_TIMEOUT = 1.0


class Accepted(Caller, Protocol):
    """
    A connection that the server has accepted, as the `Front` sees it.

    :ivar address: the caller's.
    :ivar deadline: when `expire` is to be called, by the front's clock.
    """

    address: str
    deadline: float

    @property
    def busy(self) -> bool:
        """Whether a response is under way, for which stopping waits."""

    @property
    def used_lately(self) -> bool:
        """Whether a further request may be on its way."""

    def limit_head(self, seconds: float) -> None:
        """Give the request less time to arrive."""

    def refuse_connection(self) -> None:
        """Make room: there are too many connections."""

    def expire(self) -> None:
        """The deadline has passed."""

    def leave_if_idle(self) -> None:
        """Close the connection, unless a request may be on its way."""

    def stop(self) -> None:
        """Close at once: the server stops."""


class Front:
    """
    :param backend: responds to what ``local`` does not.
    :param local: responds also while the server drains or has too many connections.
    :param now: the wall clock, seconds since the epoch.
    :ivar names: what forwarded requests say of their caller.
    :ivar turn: what callers are sent goes through it.
    :ivar buffer: where each connection's bytes arrive; they are taken out before the next one reads.
    :ivar draining: no new work is taken any more.
    :ivar on_first: called when a connection is made and there was none: `expire` has work from now on.
    """

    def __init__(
        self,
        limits: Limits,
        backend: Backend,
        local: LocalResponders,
        names: ForwardingHeaders,
        observer: Observer,
        clock: IReactorTime,
        now: Callable[[], float],
        turn: Turn,
    ) -> None:
        self.limits = limits
        self.names = names
        self.clock = clock
        self.now = now
        self.turn = turn
        self.buffer = memoryview(bytearray(_READ))
        self.draining = False
        self.on_first: Callable[[], object] = lambda: None
        self.connections: dict[Accepted, None] = {}
        self._surplus: dict[Accepted, None] = {}
        self._backend = backend
        self._local = local
        self._observer = observer
        # Unlike any other process's, and cheap to make: a random uuid each costs 2 us.
        self._id_prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def new_id(self) -> bytes:
        """An id for a request that has none: 32 hexadecimal digits."""
        return b"%b%016x" % (self._id_prefix.encode(), next(self._numbers))

    def add(self, connection: Accepted) -> None:
        """A connection has been made."""
        if not self.connections:
            self.on_first()
        self.connections[connection] = None
        if len(self.connections) <= self.limits.max_connections:
            return
        self._observer.refused()
        if len(self._surplus) >= RESERVE:
            # The newest one counts, or a few that say nothing would keep the others out.
            oldest = next(iter(self._surplus))
            del self._surplus[oldest]
            oldest.refuse_connection()
        self._surplus[connection] = None
        connection.limit_head(RESERVE_TIMEOUT)

    def remove(self, connection: Accepted) -> None:
        """A connection is gone."""
        self.connections.pop(connection, None)
        self._surplus.pop(connection, None)

    def may_stay(self, connection: Accepted) -> bool:
        """Whether a connection may serve another request."""
        return not self.draining and connection not in self._surplus

    def responder(self, connection: Accepted, request: Request, identity: bytes) -> Responder:
        """
        Who responds to a request.

        :raises RefusedError: when nobody does, for now.
        """
        local = self._local(connection, request)
        if local is not None:
            return local
        if self.draining:
            raise RefusedError(503, "the server is stopping")
        if connection in self._surplus:
            raise RefusedError(503, "too many connections")
        return self._backend.responder(connection, request, identity)

    def ended(
        self, connection: Accepted, request: Request | None, status: int, sent: int, began: float
    ) -> None:
        """
        A request has got its response, or its caller has left.

        :param request: None for one that could not be read.
        :param sent: bytes of the response, its head included.
        """
        self._observer.ended(connection.address, request, status, sent, self.clock.seconds() - began)

    def expire(self) -> None:
        """Look after all deadlines at once, which costs less than a timer for each request."""
        now = self.clock.seconds()
        for connection in [connection for connection in self.connections if connection.deadline <= now]:
            connection.expire()
        if self.draining:
            for connection in list(self.connections):
                connection.leave_if_idle()

    def busy(self) -> int:
        """How many connections have a response under way."""
        return sum(connection.busy for connection in self.connections)
