"""Connections to one HTTP server: how they are made, and kept open between requests."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from scfd.http1.activity import Activity
from scfd.http1.client import ClientConnection
from scfd.http1.contract import ConnectError, ConnectTimeoutError, Exchange, NoResourcesError
from scfd.http1.turn import Turn

#: Seconds that a connection may take to be made.
CONNECT_TIMEOUT = 5.0

#: What makes a connection: given a factory, a Deferred that fires once one is connected.
Connector = Callable[[Callable[[], ClientConnection]], "Deferred[Any]"]


def connector(url: str) -> Connector:
    """
    :param url: http or https; its host and port count.
    :returns: for a `scfd.http1.pool.Pool`: makes connections over TCP or TLS.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context: Any = None
    if parts.scheme == "https":
        import ssl  # 40 ms and 12 MiB that a server on the same machine saves

        context = ssl.create_default_context()

    async def connect(factory: Callable[[], ClientConnection]) -> Any:
        # Asked for in here: a service may call this while it starts, before the loop runs.
        return await asyncio.get_running_loop().create_connection(factory, host, port, ssl=context)

    return lambda factory: Deferred.fromFuture(asyncio.ensure_future(connect(factory)))


#: Connections that are being made at once. To make one takes the time of ten requests to a server that is
#: quick, and then the first few serve all that wait: a burst of 1,000 was through in 75 ms in place of 95 ms.
MOST_CONNECTING = 16

_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL}

_STOPPING = "stopping: no more requests are sent"


class Pool:
    """
    Gives requests a connection: an idle one, else a new one, else the next that becomes free.

    :param connect: makes a connection.
    :param size: how many connections may be open at once.
    :param idle: seconds that a connection is kept without a request: less than the server keeps its
        own, so that no request is sent into a connection that is just being closed.
    :param connect_timeout: seconds.
    :param turn: what is sent goes through it.
    :param activity: shared by all pools of this server; one of its own when left out.
    :ivar open: how many connections there are, those that are being made included.
    """

    def __init__(
        self,
        connect: Connector,
        size: int,
        idle: float,
        connect_timeout: float,
        clock: IReactorTime,
        turn: Turn,
        activity: Activity | None = None,
    ) -> None:
        self._connect = connect
        self._size = size
        self._idle_limit = idle
        self._connect_timeout = connect_timeout
        self._clock = clock
        self._turn = turn
        self.activity = activity or Activity(clock)
        self.activity.add_pool(self)
        #: (connection, since when), the longest idle one first; the last one is taken first.
        self._idle: deque[tuple[ClientConnection, float]] = deque()
        self._waiting: deque[Exchange] = deque()
        self._connecting: set[Deferred[Any]] = set()
        self._established = 0
        self._tidying: IDelayedCall | None = None
        self._closed = False

    @property
    def open(self) -> int:
        return self._established + len(self._connecting)

    @property
    def idle(self) -> int:
        """How many connections have no request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many requests have no connection."""
        return len(self._waiting)

    def submit(self, exchange: Exchange) -> None:
        """Let a request have a connection, in its turn."""
        while self._idle:
            connection, _ = self._idle.pop()
            # The server may have closed it just now, and `_lost` not been called yet.
            if not connection.closing:
                connection.assign(exchange)
                return
        if self._closed:
            exchange.on_failure(ConnectError(_STOPPING))
            return
        self._waiting.append(exchange)
        self._make()

    def withdraw(self, exchange: Exchange) -> None:
        """Forget a request that still has no connection."""
        self._waiting.remove(exchange)

    def close(self) -> None:
        """Make no more connections, close the idle ones, and the others when their responses are complete."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().on_failure(ConnectError(_STOPPING))
        for connecting in list(self._connecting):
            connecting.cancel()
        while self._idle:
            self._idle.pop()[0].close()
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None

    def _make(self) -> None:
        """As many connections as there are requests without one, some at a time."""
        wanted = min(len(self._waiting), MOST_CONNECTING)
        while len(self._connecting) < wanted and self.open < self._size and not self._closed:
            connecting = self._connect(self._new)
            self._connecting.add(connecting)
            connecting.addTimeout(self._connect_timeout, self._clock, _too_long)
            connecting.addBoth(self._made, connecting)

    def _new(self) -> ClientConnection:
        return ClientConnection(self._free, self._lost, self._turn, self.activity)

    def _made(self, result: Any, connecting: Deferred[Any]) -> None:
        self._connecting.discard(connecting)
        if isinstance(result, Failure):
            self._not_made(result)
            return
        _, connection = result
        self._established += 1
        if connection.closing:  # lost in the meantime
            self._make()
        else:
            self._free(connection)
            self._make()

    def _not_made(self, failure: Failure) -> None:
        """The request that has waited longest hears of it; the others get tries of their own."""
        error = failure.value
        if not isinstance(error, ConnectError):
            kind = NoResourcesError if _is_ours(error) else ConnectError
            error = kind(f"can't connect: {_reason(error)}")
        if self._waiting:
            self._waiting.popleft().on_failure(error)
        self._make()

    def close_idle(self) -> bool:
        """Close the one that has been without a request for longest. :returns: whether there was one."""
        if not self._idle:
            return False
        self._idle.popleft()[0].close()
        return True

    def _free(self, connection: ClientConnection) -> None:
        if connection.served and self.activity.gives_way():
            connection.close()
        elif self._waiting:
            connection.assign(self._waiting.popleft())
        elif self._closed:
            connection.close()
        else:
            self._idle.append((connection, self._clock.seconds()))
            if self._tidying is None:
                self._tidying = self._clock.callLater(self._idle_limit, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        now = self._clock.seconds()
        while self._idle and now - self._idle[0][1] >= self._idle_limit:
            self._idle.popleft()[0].close()
        if self._idle:
            rest = self._idle_limit - (now - self._idle[0][1])
            self._tidying = self._clock.callLater(rest, self._tidy)

    def _lost(self, connection: ClientConnection) -> None:
        self._established -= 1
        self._idle = deque(kept for kept in self._idle if kept[0] is not connection)
        self._make()


def _reason(error: Any) -> str:
    """asyncio's own text for a refused connection names only the address, which the caller knows."""
    number = getattr(error, "errno", None) or 0
    if number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}".rstrip(": ")


def _is_ours(error: Any) -> bool:
    """Whether a connection could not be made for a reason on this side."""
    return isinstance(error, socket.gaierror) or getattr(error, "errno", None) in _OURS


def _too_long(_: Any, seconds: float) -> Any:
    raise ConnectTimeoutError(f"no connection after {seconds:g} s")
