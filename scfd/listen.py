"""Listening on a port: for the gateway, for operators, for development."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from importlib import import_module
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from scfd.config import Address
from scfd.deferreds import in_thread
from scfd.errors import StartupError

#: Connections that may wait to be accepted: of a burst of 300, Twisted's 50 made some wait a second.
BACKLOG = 1024


def bind(key: str, address: Address) -> socket.socket:
    """
    The one way to listen on a port. It asks a resolver where the host is a name, once, at start.

    :param key: the config key of the address, for messages.
    :returns: a socket that listens, and does not block; on ``::`` to IPv4 as well.
    :raises StartupError: when it can't.
    """
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, (host, port, *_) = found[0]
        listening = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=address.host == "::"
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise StartupError(f"{key}: can't listen on {address}: {reason}; choose another address") from error
    listening.setblocking(False)
    # For all its connections. asyncio does it only for sockets that name TCP as their protocol, which these
    # don't: every second write waited 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


Bind = Callable[[str, Address], socket.socket]


def listen(
    key: str, address: Address, factory: IProtocolFactory, reactor: Any, bind: Bind = bind
) -> IListeningPort:
    """Serve a port with Twisted: see `bind`."""
    with bind(key, address) as listening:  # the reactor takes a copy of it
        port: IListeningPort = reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
    return port


@implementer(IReadDescriptor)
class Listener(Service):
    """
    Listens on a port at once. What serves it is made with the first connection, and its module imported then,
    in a thread: twisted.web would be a fifth of a node's start, and most nodes are not asked anything.

    :param key: the config key of the address, for messages.
    :param module: the name of the module to import.
    :param make: returns an `IProtocolFactory`, once the module is there.
    :param bind: makes the socket.
    """

    def __init__(
        self,
        key: str,
        address: Address,
        module: str,
        make: Callable[[], IProtocolFactory],
        reactor: Any,
        bind: Bind = bind,
    ) -> None:
        self._key = key
        self._address = address
        self._module = module
        self._make = make
        self._reactor = reactor
        self._bind = bind
        self._socket: socket.socket | None = None
        self._port: IListeningPort | None = None
        self._log = Logger(namespace=f"scfd.{key.partition('.')[0]}")

    def startService(self) -> None:
        """:raises StartupError: when the address can't be listened on."""
        super().startService()
        self._socket = self._bind(self._key, self._address)
        self._reactor.addReader(self)
        self._log.info("listening on {address}", address=str(self._address))

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - of the interface
        return self._key

    def connectionLost(self, reason: object) -> None:
        """The reactor does not read any more."""

    def doRead(self) -> None:  # noqa: N802 - of the interface
        """The first connection is there; it waits in the socket's backlog."""
        self._reactor.removeReader(self)
        Deferred.fromCoroutine(self._serve()).addErrback(
            lambda failure: self._log.failure("can't serve", failure)
        )

    async def _serve(self) -> None:
        await in_thread(self._reactor, import_module, self._module)
        if self._socket is not None:  # not stopped meanwhile
            with self._socket as listening:  # the reactor takes a copy of it
                self._port = self._reactor.adoptStreamPort(listening.fileno(), listening.family, self._make())
            self._socket = None

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None
        if self._port is None:
            return None
        port, self._port = self._port, None
        return port.stopListening()
