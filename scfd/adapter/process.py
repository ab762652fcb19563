"""Runs a plugin's process: starts it again when it ends, logs its output, and ends it with the node."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.child import Child
from scfd.guard import guarded

_log = Logger(namespace="scfd.plugin")

_output_log = Logger(namespace="scfd.plugin.output")

#: Seconds before a process that ended is started again; doubled each time, back to the first
#: once it has run for the longest.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0


class _Run(Child):
    """One run of the plugin."""

    def __init__(self, reactor: Any, ended: Callable[[Failure], None]) -> None:
        super().__init__(reactor)
        self._ended = ended

    def line_received(self, line: str) -> None:
        _output_log.info("{line}", line=line)

    def processEnded(self, reason: Failure) -> None:
        super().processEnded(reason)
        self._ended(reason)


def exit_text(reason: Failure) -> str:
    """How a process ended, in a few words. Its guard says 128 and the number for a signal, as shells do."""
    value: Any = reason.value  # ProcessDone or ProcessTerminated
    status = value.exitCode
    if value.signal is not None:
        return f"killed by signal {value.signal}"
    return f"killed by signal {status - 128}" if status and status > 128 else f"exit status {status or 0}"


class PluginProcess:
    """
    :param command: program and arguments; relative to the working directory.
    :ivar end: how the last run ended, such as ``exit status 1``; empty as long as none has.
    """

    def __init__(self, command: Sequence[str], reactor: Any) -> None:
        self._command = tuple(command)
        self._reactor = reactor
        self._run: _Run | None = None
        self._on_end: Callable[[str], None] = lambda how: None
        self.end = ""
        self._again: IDelayedCall | None = None
        self._backoff = FIRST_BACKOFF
        self._started_at = 0.0

    def start(self, on_end: Callable[[str], None]) -> None:
        """
        Start the process, and from now on start it again whenever it ends.

        :param on_end: called each time it ends unasked, with how.
        """
        self._on_end = on_end
        self._spawn()

    def _spawn(self) -> None:
        self._again = None
        self._started_at = self._reactor.seconds()
        self._run = _Run(self._reactor, self._ended)
        command = guarded(self._command)
        # The guard ends the plugin when this pipe to its stdin is closed: also when the node is killed.
        self._reactor.spawnProcess(
            self._run, command[0], command, env=os.environ, childFDs={0: "w", 1: "r", 2: "r"}
        )
        # Without its arguments: there may be secrets among them.
        _log.info("started the plugin: {program}", program=self._command[0])

    def _ended(self, reason: Failure) -> None:
        if self._run is None:
            return  # it was asked to
        self._run = None
        if self._reactor.seconds() - self._started_at >= LONGEST_BACKOFF:
            self._backoff = FIRST_BACKOFF
        self.end = exit_text(reason)
        _log.error(
            "the plugin's process ended: {how}; starting it again in {pause:g} s",
            how=self.end,
            pause=self._backoff,
        )
        self._again = self._reactor.callLater(self._backoff, self._spawn)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)
        self._on_end(self.end)

    def stop(self) -> Deferred[None]:
        """
        End the process and its children: SIGTERM, and SIGKILL for what is left after a while.

        :returns: a Deferred that fires when the process has ended.
        """
        if self._again is not None:
            self._again.cancel()
            self._again = None
        run, self._run = self._run, None
        return succeed(None) if run is None else run.end()
