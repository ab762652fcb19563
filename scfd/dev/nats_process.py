"""One run of nats-server: what it writes, and its end."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from scfd.child import Child

#: ``[5056] 2026/11/23 22:01:48.480423 [INF] Server is ready``
_LINE = re.compile(r"\[(?P<level>[A-Z]{3})\] ?(?P<text>.*)")
_LEVELS = {"WRN": LogLevel.warn, "ERR": LogLevel.error, "FTL": LogLevel.error}

_log = Logger(namespace="scfd.dev.nats")


class ServerEndedError(Exception):
    """The server ended; the text is the last thing it complained about."""


class ServerProcess(Child):
    """
    One run of nats-server under its guard, from its start to its end.

    Its warnings and errors go to the log, the rest of its chatter to level debug. Before it is
    ready, an error is not logged but kept as the reason for its end.

    :ivar ready: fires when the server accepts clients; fails with `ServerEndedError` when it never does.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._complaint = "it gave no reason"
        self.ready: Deferred[None] = Deferred()

    def line_received(self, line: str) -> None:
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
        super().processEnded(reason)
        self._tell_ready(Failure(ServerEndedError(self._complaint)))

    def _tell_ready(self, result: Failure | None) -> None:
        if not self.ready.called:
            self.ready.callback(result)
