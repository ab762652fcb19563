"""A service that listens on an address."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from scfd.config import Address
from scfd.errors import StartupError

#: Connections that may wait to be accepted: of a burst of 300, Twisted's 50 made some wait a second.
BACKLOG = 1024


class Listener(Service):
    """
    :param key: the config key of the address, for messages.
    """

    def __init__(self, key: str, address: Address, factory: IProtocolFactory, reactor: Any) -> None:
        self._key = key
        self._address = address
        self._factory = factory
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self._log = Logger(namespace=f"scfd.{key.partition('.')[0]}")

    def startService(self) -> None:
        """:raises StartupError: when the address can't be listened on."""
        super().startService()
        try:
            self._port = self._reactor.listenTCP(
                self._address.port, self._factory, backlog=BACKLOG, interface=self._address.host
            )
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise StartupError(
                f"{self._key}: can't listen on {self._address}: {reason}; choose another address"
            ) from error
        self._log.info("listening on {address}", address=str(self._address))

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._port is None:
            return None
        port, self._port = self._port, None
        return port.stopListening()
