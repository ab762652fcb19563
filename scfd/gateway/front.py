"""What the connections of a gateway have in common: settings, limits, who answers, figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from scfd.config import GatewaySettings
from scfd.gateway.access_log import AccessLog
from scfd.gateway.contract import Backend, Responder
from scfd.gateway.local import LocalAnswer
from scfd.gateway.request import RefusedError, Request
from scfd.http1.turn import Turn
from scfd.status.metrics import Metrics
from scfd.web import DEFAULT_MAX_BODY, Routes

if TYPE_CHECKING:
    from scfd.gateway.caller import Caller

#: Bytes that are read from one connection before others have their turn: 10 ms of work at the very worst,
#: which is chunks of one byte.
_READ = 128 * 1024
#: Connections beyond `max_connections` that are let in for what the gateway answers itself: a platform
#: that gets no answer from /health would kill a node that is only busy.
RESERVE = 64
#: Seconds that these have to send their request.
RESERVE_TIMEOUT = 1.0


class Front:
    """
    :param backend: answers what the routes do not.
    :param now: the wall clock, seconds since the epoch.
    :ivar turn: what callers are sent goes through it.
    :ivar buffer: where each connection's bytes arrive; they are taken out before the next one reads.
    :ivar draining: no new work is taken any more.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        routes: Routes,
        backend: Backend,
        metrics: Metrics,
        clock: IReactorTime,
        now: Callable[[], float],
        turn: Turn,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.now = now
        self.turn = turn
        self.buffer = memoryview(bytearray(_READ))
        self.draining = False
        self.callers: dict[Caller, None] = {}
        self._surplus: dict[Caller, None] = {}
        self._routes = routes
        self._backend = backend
        self._metrics = metrics
        #: By status: labels() takes longer than the counting.
        self._figures: dict[int, tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._access_log = AccessLog() if settings.access_log else None
        self._local_limit = min(settings.max_body, DEFAULT_MAX_BODY)
        # Unlike any other process's, and cheap to make: a random uuid each costs 2 us.
        self._id_prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def new_id(self) -> bytes:
        """An id for a request that has none: 32 hexadecimal digits."""
        return b"%b%016x" % (self._id_prefix.encode(), next(self._numbers))

    def add(self, caller: Caller) -> None:
        """A connection has been made."""
        self.callers[caller] = None
        if len(self.callers) <= self.settings.max_connections:
            return
        self._metrics.gateway_refused.inc()
        if len(self._surplus) >= RESERVE:
            # The newest one counts, or a few that say nothing would keep the others out.
            oldest = next(iter(self._surplus))
            del self._surplus[oldest]
            oldest.refuse_connection()
        self._surplus[caller] = None
        caller.limit_head(RESERVE_TIMEOUT)

    def remove(self, caller: Caller) -> None:
        """A connection is gone."""
        self.callers.pop(caller, None)
        self._surplus.pop(caller, None)

    def may_stay(self, caller: Caller) -> bool:
        """Whether a connection may serve another request."""
        return not self.draining and caller not in self._surplus

    def responder(self, caller: Caller, request: Request, identity: bytes) -> Responder:
        """
        Who answers a request.

        :raises RefusedError: when nobody does, for now.
        """
        handler = self._routes.handler(request.method, request.path)
        if handler is not None:
            return LocalAnswer(caller, request, handler, self._local_limit)
        if self.draining:
            raise RefusedError(503, "the node is stopping")
        if caller in self._surplus:
            raise RefusedError(503, "too many connections")
        return self._backend.responder(caller, request, identity)

    def ended(self, caller: Caller, request: Request | None, status: int, sent: int, began: float) -> None:
        """
        A request has been answered, or its caller has left.

        :param request: None for one that could not be read.
        :param sent: bytes of the answer, its head included.
        """
        seconds = self.clock.seconds() - began
        figures = self._figures.get(status)
        if figures is None:
            figures = self._figures[status] = (
                self._metrics.gateway_requests.labels(str(status)).inc,
                self._metrics.gateway_seconds.labels(str(status)).observe,
            )
        count_one, observe = figures
        count_one()
        observe(seconds)
        if self._access_log is not None:
            self._access_log.write(caller.address, request, status, sent, seconds)

    def expire(self) -> None:
        """Look after all deadlines at once, which costs less than a timer for each request."""
        now = self.clock.seconds()
        for caller in [caller for caller in self.callers if caller.deadline <= now]:
            caller.expire()
        if self.draining:
            for caller in list(self.callers):
                caller.leave_if_idle()

    def busy(self) -> int:
        """How many connections have an answer under way."""
        return sum(caller.busy for caller in self.callers)
