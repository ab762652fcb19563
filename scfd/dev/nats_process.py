"""One run of nats-server: what it writes, and its end."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

#: Seconds from the request to end to the end by force.
KILL_AFTER = 3.0

#: ``[5056] 2026/11/23 22:01:48.480423 [INF] Server is ready``
_LINE = re.compile(r"\[(?P<level>[A-Z]{3})\] ?(?P<text>.*)")
_LEVELS = {"WRN": LogLevel.warn, "ERR": LogLevel.error, "FTL": LogLevel.error}

# Not an attribute of the class: there it would take on the name of its class.
_log = Logger(namespace="scfd.dev.nats")


class ServerEndedError(Exception):
    """The server ended; the text is the last thing it complained about."""


class ServerProcess(ProcessProtocol):
    """
    One run of nats-server under its guard, from its start to its end.

    Its warnings and errors go to the log, the rest of its chatter to level debug. Before it is
    ready, an error is not logged but kept as the reason for its end.

    :ivar ready: fires when the server accepts clients; fails with `ServerEndedError` when it never does.
    """

    transport: IProcessTransport

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._unread = b""
        self._complaint = "it gave no reason"
        self._running = True
        self._waiting: list[Deferred[None]] = []
        self.ready: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._read(line.decode(errors="replace").rstrip())

    errReceived = outReceived

    def _read(self, line: str) -> None:
        match = _LINE.search(line)
        level = _LEVELS.get(match["level"], LogLevel.debug) if match else LogLevel.debug
        text = match["text"] if match else line
        if text == "Server is ready":
            self._tell_ready(None)
        # A line of another form is the guard's, or a command line that the server refuses.
        if not self.ready.called and text and (match is None or level is LogLevel.error):
            self._complaint = text
            level = LogLevel.debug
        _log.emit(level, "{text}", text=text)

    def processEnded(self, reason: Failure) -> None:
        self._running = False
        self._tell_ready(Failure(ServerEndedError(self._complaint)))
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)

    def _tell_ready(self, result: Failure | None) -> None:
        if not self.ready.called:
            self.ready.callback(result)

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
        Ask the server to end, and kill it when it has not within 3 s.

        :returns: a Deferred that fires when it has ended.
        """
        ended = self.when_ended()
        if self._running:
            self._signal_term()
            # Its guard kills it when it finds its standard input closed.
            kill = self._reactor.callLater(KILL_AFTER, self.transport.closeStdin)
            ended.addBoth(_cancel, kill)
        return ended

    def _signal_term(self) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("TERM")


def _cancel(result: None, call: Any) -> None:
    if call.active():
        call.cancel()
