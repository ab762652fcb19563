"""Tests for scfd.web, without ports."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import Address
from scfd.errors import StartupError
from scfd.listen import Bind, Listener, bind
from tests.fakes import FakeSockets

ADDRESS = Address("127.0.0.1", 9002)


class Reactor(MemoryReactor):
    """One whose only thread is this one."""

    def getThreadPool(self) -> Reactor:  # noqa: N802 - Twisted's name
        return self

    def callInThreadWithCallback(self, done: Any, call: Any, *args: Any) -> None:  # noqa: N802
        done(True, call(*args))

    def callFromThread(self, call: Any, *args: Any) -> None:
        call(*args)


def listener(reactor: Reactor, factory: Factory, sockets: Bind = bind) -> Listener:
    """:returns: a listener whose module is there already."""
    return Listener("admin.listen", ADDRESS, "socket", lambda: factory, reactor, sockets)


class ListenerTests(SynchronousTestCase):
    def refuse(self, function: str, error: OSError) -> Listener:
        """:returns: a listener where one of the socket module's functions fails."""

        def fail(*_: object, **__: object) -> None:
            raise error

        self.patch(socket, function, fail)
        return listener(Reactor(), Factory())

    def test_listens_at_once_and_serves_with_the_first_connection(self) -> None:
        reactor, factory, sockets = Reactor(), Factory(), FakeSockets()
        with capturedLogs() as logged:
            listens = listener(reactor, factory, sockets)
            listens.startService()
        self.assertEqual((sockets.addresses, reactor.adoptedPorts), ([ADDRESS], []))
        self.assertEqual([formatEvent(event) for event in logged], ["listening on 127.0.0.1:9002"])
        self.assertEqual(logged[0]["log_namespace"], "scfd.admin")
        self.assertEqual((reactor.getReaders(), listens.fileno()), ([listens], 99))
        listens.doRead()
        self.assertEqual((reactor.getReaders(), reactor.adoptedPorts), ([], [(99, socket.AF_INET, factory)]))

    def test_stopped_before_anybody_has_asked(self) -> None:
        reactor = Reactor()
        listens = listener(reactor, Factory(), FakeSockets())
        listens.startService()
        self.assertIsNone(listens.stopService())
        self.assertEqual((reactor.getReaders(), listens.fileno()), ([], -1))

    def test_stopped_while_its_module_is_imported(self) -> None:
        reactor, calls = Reactor(), []
        self.patch(reactor, "callFromThread", lambda *call: calls.append(call))
        listens = listener(reactor, Factory(), FakeSockets())
        listens.startService()
        listens.doRead()
        listens.stopService()
        for call, *args in calls:
            call(*args)
        self.assertEqual(reactor.adoptedPorts, [])

    def test_an_address_in_use_is_a_mistake_in_one_line(self) -> None:
        error = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listens = self.refuse("create_server", error)
        mistake = self.assertRaises(StartupError, listens.startService)
        self.assertEqual(
            str(mistake),
            "admin.listen: can't listen on 127.0.0.1:9002: Address already in use; choose another address",
        )
        self.assertIsNone(listens.stopService())

    def test_an_error_without_a_text_of_the_system(self) -> None:
        listens = self.refuse("getaddrinfo", socket.gaierror(-2, "no such host"))
        mistake = self.assertRaises(StartupError, listens.startService)
        self.assertIn("127.0.0.1:9002: no such host; choose", str(mistake))

    def test_stop_waits_for_the_port_to_be_closed(self) -> None:
        closing: Deferred[None] = Deferred()

        class Port:
            def stopListening(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
                return closing

        reactor = Reactor()
        reactor.adoptStreamPort = lambda *args: Port()  # type: ignore[method-assign]
        listens = listener(reactor, Factory(), FakeSockets())
        listens.startService()
        listens.doRead()
        stopped = listens.stopService()
        assert stopped is not None
        self.assertNoResult(stopped)
        closing.callback(None)
        self.successResultOf(stopped)
        self.assertIsNone(listens.stopService())
