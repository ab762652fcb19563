"""A child process under a guard: its output line by line, and its end, asked for or not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Seconds from SIGTERM to SIGKILL.
KILL_AFTER = 3.0
#: Bytes: a longer line is taken in pieces, so that a child that writes none can't fill the memory.
LONGEST_LINE = 65536


class Child(ProcessProtocol):
    """
    One run of a command that `scfd.guard.guarded` has wrapped, with its standard input a pipe.

    Subclasses say what is to become of its lines.
    """

    transport: IProcessTransport

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._unread = {1: b"", 2: b""}
        self._running = True
        self._waiting: list[Deferred[None]] = []

    def line_received(self, line: str) -> None:
        """Called with each line of its standard output and standard error."""
        raise NotImplementedError

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._unread[childFD] + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._unread[childFD] = rest
        for line in lines:
            self.line_received(line.decode(errors="replace").rstrip())

    def processEnded(self, reason: Failure) -> None:
        for rest in self._unread.values():
            if rest:
                self.line_received(rest.decode(errors="replace").rstrip())
        self._running = False
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)

    def when_ended(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the process has ended."""
        ended: Deferred[None] = Deferred()
        if self._running:
            self._waiting.append(ended)
        else:
            ended.callback(None)
        return ended

    def end(self) -> Deferred[None]:
        """
        Ask the process to end, and kill what is left of its group when it has not within 3 s.

        :returns: a Deferred that fires when it has ended.
        """
        ended = self.when_ended()
        if self._running:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("TERM")
            # Its guard kills the group when it finds its standard input closed.
            kill = self._reactor.callLater(KILL_AFTER, self.transport.closeStdin)
            ended.addBoth(_cancel, kill)
        return ended


def _cancel(result: None, call: Any) -> None:
    if call.active():
        call.cancel()
