"""The gateway as a service: it listens, looks after deadlines, and waits for answers before it stops."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from scfd.config import Address
from scfd.deferreds import from_asyncio
from scfd.errors import StartupError
from scfd.gateway.caller import IDLE_GRACE, Caller
from scfd.gateway.contract import Backend
from scfd.gateway.front import RESERVE, Front
from scfd.interfaces import IDrainable
from scfd.web import BACKLOG

_log = Logger(namespace="scfd.gateway")

#: Seconds from one look at the deadlines to the next: 0.1 ms of work for 1,000 connections.
_PERIOD = 0.1
#: Files that the rest of the node has open, at the most.
_OTHER_FILES = 200


@implementer(IDrainable)
class Gateway(Service):
    """
    :param context: makes the TLS context; None for plain HTTP.
    """

    def __init__(
        self,
        front: Front,
        backend: Backend,
        reactor: Any,
        context: Callable[[], Any] | None = None,
    ) -> None:
        self._front = front
        self._backend = backend
        self._address = front.settings.listen
        self._context = context
        self._server: asyncio.Server | None = None
        self._looking = LoopingCall(self._look_after_safely)
        self._looking.clock = reactor
        self._clock = front.clock
        self._draining: Deferred[None] | None = None
        self._drained_from = 0.0

    def startService(self) -> Deferred[None]:
        """:raises scfd.errors.StartupError: (the Deferred) when the address can't be listened on."""
        super().startService()
        return from_asyncio(self._start())

    async def _start(self) -> None:
        settings = self._front.settings
        allow_descriptors(settings.max_connections + RESERVE + settings.pool_size + _OTHER_FILES)
        context = self._context() if self._context is not None else None
        timeout = settings.header_timeout if context is not None else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Caller(self._front),
            sock=await listen(self._address),
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=timeout,
        )
        self._looking.start(_PERIOD, now=False)
        tls = "" if context is None else ", with TLS"
        _log.info("listening on {address}{tls}", address=str(self._address), tls=tls)

    def _look_after_safely(self) -> None:
        try:
            self.look_after()
        except Exception:
            # A call that fails once is never made again, and without deadlines nothing bounds a connection.
            _log.failure("the deadlines of connections could not be looked after")

    def look_after(self) -> None:
        """See to deadlines, and whether the gateway has drained."""
        self._front.expire()
        if self._draining is None or self._clock.seconds() < self._drained_from:
            return
        if not self._front.busy():
            draining, self._draining = self._draining, None
            draining.callback(None)

    def drain(self) -> Deferred[None]:
        """
        Take no new work, and wait for the answers under way: see `IDrainable`. The port stays open
        meanwhile, so that ``/health`` can say that the node is stopping.
        """
        self._front.draining = True
        lately = any(caller.used_lately for caller in self._front.callers)
        self._drained_from = self._clock.seconds() + (IDLE_GRACE if lately else 0.0)
        draining: Deferred[None] = Deferred(self._stop_draining)
        self._draining = draining
        self.look_after()
        return draining

    def _stop_draining(self, _: object) -> None:
        self._draining = None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._looking.running:
            self._looking.stop()
        if self._server is not None:
            self._server.close()
        for caller in list(self._front.callers):
            caller.abort()
        self._backend.close()
        return succeed(None)


def allow_descriptors(needed: int) -> None:
    """
    Raise this process's limit of open files (often 1,024, of which the callers alone may take 1,064).

    Without descriptors nobody is accepted any more, /health included.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warn(
            "gateway: {allowed} files may be open, and with max_connections and pool_size as they are there "
            "may be {needed}; raise `ulimit -Hn`, or lower them",
            allowed=allowed,
            needed=needed,
        )


async def listen(address: Address) -> socket.socket:
    """
    :returns: a socket that listens; on ``::`` to IPv4 as well, which asyncio's own would not.
    :raises StartupError: when it can't.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, (host, port, *_) = found[0]
        listening = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=address.host == "::"
        )
        # For all its connections. asyncio does it only for sockets that name TCP as their protocol, which
        # these don't: every second write waited 40 ms for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise StartupError(
            f"gateway.listen: can't listen on {address}: {reason}; choose another address"
        ) from error
