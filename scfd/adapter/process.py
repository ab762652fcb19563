"""Runs a plugin's process: starts it again when it ends, logs its output, and ends it with the node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from scfd.guard import guarded

_log = Logger(namespace="scfd.plugin")

_output_log = Logger(namespace="scfd.plugin.output")

#: Seconds before a process that ended is started again; doubled each time, back to the first
#: once it has run for the longest.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
#: Seconds between SIGTERM and SIGKILL.
STOP_GRACE = 3.0


class _Lines(LineOnlyReceiver):
    """Splits a stream into log lines; one that is too long is logged in pieces."""

    delimiter = b"\n"
    MAX_LENGTH = 16384

    def lineReceived(self, line: bytes) -> None:
        _output_log.info("{line}", line=line.rstrip(b"\r").decode("utf-8", "replace"))

    def lineLengthExceeded(self, line: bytes) -> None:
        self.lineReceived(line)


class _Protocol(ProcessProtocol):
    def __init__(self, owner: PluginProcess) -> None:
        self._owner = owner
        self._streams = {1: _Lines(), 2: _Lines()}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._streams[childFD].dataReceived(data)

    def processEnded(self, reason: Failure) -> None:
        self._owner.ended(reason)


class PluginProcess:
    """
    :param command: program and arguments; relative to the working directory.
    """

    def __init__(self, command: Sequence[str], reactor: Any) -> None:
        self._command = tuple(command)
        self._processes: IReactorProcess = reactor
        self._clock: IReactorTime = reactor
        self._transport: Any = None
        self._again: IDelayedCall | None = None
        self._backoff = FIRST_BACKOFF
        self._started_at = 0.0
        self._stopping: Deferred[None] | None = None

    def start(self) -> None:
        """Start the process, and from now on start it again whenever it ends."""
        self._again = None
        self._started_at = self._clock.seconds()
        command = guarded(self._command)
        # The guard ends the plugin when this pipe to its stdin is closed: also when the node is killed.
        self._transport = self._processes.spawnProcess(
            _Protocol(self), command[0], command, env=os.environ, childFDs={0: "w", 1: "r", 2: "r"}
        )
        _log.info("started the plugin: {command}", command=" ".join(self._command))

    def ended(self, reason: Failure) -> None:
        """The process has ended, asked or not."""
        self._transport = None
        if self._stopping is not None:
            self._stopping.callback(None)
            return
        if self._clock.seconds() - self._started_at >= LONGEST_BACKOFF:
            self._backoff = FIRST_BACKOFF
        _log.error(
            "the plugin's process ended: {reason}; starting it again in {pause:g} s",
            reason=reason.getErrorMessage().rstrip("."),
            pause=self._backoff,
        )
        self._again = self._clock.callLater(self._backoff, self.start)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)

    def stop(self) -> Deferred[None]:
        """
        End the process and its children: SIGTERM, and SIGKILL for what is left after a while.

        :returns: a Deferred that fires when the process has ended.
        """
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._transport is None:
            return succeed(None)
        self._stopping = Deferred()
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess("TERM")
        kill = self._clock.callLater(STOP_GRACE, self._transport.closeStdin)
        return self._stopping.addCallback(lambda _: kill.cancel() if kill.active() else None)
