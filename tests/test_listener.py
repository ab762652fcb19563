"""Tests for scfd.web, without ports."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import Address
from scfd.errors import StartupError
from scfd.web import Listener

ADDRESS = Address("127.0.0.1", 9002)


class RefusingReactor(MemoryReactor):
    """A reactor on which no address can be listened on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def listenTCP(  # noqa: N802 - Twisted's name
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        raise CannotListenError(interface, port, self._error)


class ListenerTests(SynchronousTestCase):
    def test_listens_on_its_address(self) -> None:
        reactor, factory = MemoryReactor(), Factory()
        with capturedLogs() as logged:
            Listener("admin.listen", ADDRESS, factory, reactor).startService()
        ((port, its_factory, _, interface),) = reactor.tcpServers
        self.assertEqual((port, its_factory, interface), (9002, factory, "127.0.0.1"))
        self.assertEqual([formatEvent(event) for event in logged], ["listening on 127.0.0.1:9002"])
        self.assertEqual(logged[0]["log_namespace"], "scfd.admin")

    def test_an_address_in_use_is_a_mistake_in_one_line(self) -> None:
        error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener = Listener("admin.listen", ADDRESS, Factory(), RefusingReactor(error))
        mistake = self.assertRaises(StartupError, listener.startService)
        self.assertEqual(
            str(mistake),
            "admin.listen: can't listen on 127.0.0.1:9002: Address already in use; choose another address",
        )
        self.assertIsNone(listener.stopService())

    def test_an_error_without_a_text_of_the_system(self) -> None:
        listener = Listener("gateway.listen", ADDRESS, Factory(), RefusingReactor(ValueError("no such host")))
        mistake = self.assertRaises(StartupError, listener.startService)
        self.assertIn("127.0.0.1:9002: no such host; choose", str(mistake))

    def test_stop_waits_for_the_port_to_be_closed(self) -> None:
        closing: Deferred[None] = Deferred()

        class Port:
            def stopListening(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
                return closing

        reactor = MemoryReactor()
        reactor.listenTCP = lambda *args, **kwargs: Port()  # type: ignore[method-assign]
        listener = Listener("admin.listen", ADDRESS, Factory(), reactor)
        listener.startService()
        stopped = listener.stopService()
        assert stopped is not None
        self.assertNoResult(stopped)
        closing.callback(None)
        self.successResultOf(stopped)
        self.assertIsNone(listener.stopService())
