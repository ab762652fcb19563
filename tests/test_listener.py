"""Tests for scfd.web, without ports."""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import Address
from scfd.errors import StartupError
from scfd.listen import Listener
from tests.fakes import FakeSockets

ADDRESS = Address("127.0.0.1", 9002)


class ListenerTests(SynchronousTestCase):
    def refuse(self, function: str, error: OSError) -> Listener:
        """:returns: a listener where one of the socket module's functions fails."""

        def fail(*_: object, **__: object) -> None:
            raise error

        self.patch(socket, function, fail)
        return Listener("admin.listen", ADDRESS, Factory(), MemoryReactor())

    def test_listens_on_its_address(self) -> None:
        reactor, factory, sockets = MemoryReactor(), Factory(), FakeSockets()
        with capturedLogs() as logged:
            Listener("admin.listen", ADDRESS, factory, reactor, sockets).startService()
        self.assertEqual(reactor.adoptedPorts, [(99, socket.AF_INET, factory)])
        self.assertEqual(sockets.addresses, [ADDRESS])
        self.assertEqual([formatEvent(event) for event in logged], ["listening on 127.0.0.1:9002"])
        self.assertEqual(logged[0]["log_namespace"], "scfd.admin")

    def test_an_address_in_use_is_a_mistake_in_one_line(self) -> None:
        error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener = self.refuse("create_server", error)
        mistake = self.assertRaises(StartupError, listener.startService)
        self.assertEqual(
            str(mistake),
            "admin.listen: can't listen on 127.0.0.1:9002: Address already in use; choose another address",
        )
        self.assertIsNone(listener.stopService())

    def test_an_error_without_a_text_of_the_system(self) -> None:
        listener = self.refuse("getaddrinfo", socket.gaierror(-2, "no such host"))
        mistake = self.assertRaises(StartupError, listener.startService)
        self.assertIn("127.0.0.1:9002: no such host; choose", str(mistake))

    def test_stop_waits_for_the_port_to_be_closed(self) -> None:
        closing: Deferred[None] = Deferred()

        class Port:
            def stopListening(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
                return closing

        reactor = MemoryReactor()
        reactor.adoptStreamPort = lambda *args: Port()  # type: ignore[method-assign]
        listener = Listener("admin.listen", ADDRESS, Factory(), reactor, FakeSockets())
        listener.startService()
        stopped = listener.stopService()
        assert stopped is not None
        self.assertNoResult(stopped)
        closing.callback(None)
        self.successResultOf(stopped)
        self.assertIsNone(listener.stopService())
