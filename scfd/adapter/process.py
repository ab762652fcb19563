"""Runs a plugin's process: starts it again when it ends, logs its output, and ends it with the node."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from secrets import token_hex
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.adapter.child import Child
from scfd.adapter.guard import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_NOT_STARTED, guarded, kill_marked
from scfd.adapter.output import PluginOutput
from scfd.errors import describe
from scfd.status.context import Context

_log = Logger(namespace="scfd.plugin")
#: Why a process was ended: a person, or ``scfd run --reload``, wants it. That is no failure.
ASKED_FOR = "asked for"

#: The environment variable by which the processes of one run are known.
MARK = "SCFD_PLUGIN_RUN"
#: Seconds before a process that ended is started again; doubled each time, back to the first
#: once it has run for the longest.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0


class _Run(Child):
    """
    One run of the plugin.

    :ivar last_line: of its output.
    """

    def __init__(self, reactor: Any, ended: Callable[[Failure], None]) -> None:
        super().__init__(reactor)
        self._ended = ended
        #: In the environment of all its processes.
        self._mark = f"{MARK}={os.getpid()}-{token_hex(8)}"
        self.last_line = ""
        self._printed, self._printed_errors = PluginOutput(reactor), PluginOutput(reactor)

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """:raises OSError: when the system has no process, memory or file descriptor for it."""
        # The guard ends the plugin when this pipe to its stdin is closed: also when the node is killed.
        self._reactor.spawnProcess(
            self,
            command[0],
            command,
            env={**env, MARK: self._mark.partition("=")[2]},
            childFDs={0: "w", 1: "r", 2: "r"},
        )

    def line_received(self, line: str) -> None:
        self.last_line = line
        self._printed.line(line)

    def error_line_received(self, line: str) -> None:
        self.last_line = line
        self._printed_errors.line(line)

    def processExited(self, reason: Failure) -> None:
        super().processExited(reason)
        if getattr(reason.value, "signal", None) is not None:
            # A guard that was killed has left the plugin's processes to themselves.
            self._reactor.callInThread(kill_marked, self._mark)

    def processEnded(self, reason: Failure) -> None:
        super().processEnded(reason)
        self._printed.end()
        self._printed_errors.end()
        self._ended(reason)


def exit_text(reason: Failure) -> str:
    """How a process ended, in a few words. Its guard says 128 and the number for a signal, as shells do."""
    value: Any = reason.value  # ProcessDone or ProcessTerminated
    status = value.exitCode
    if value.signal is not None:
        return f"killed by signal {value.signal}"
    return f"killed by signal {status - 128}" if status and status > 128 else f"exit status {status or 0}"


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)


class PluginProcess:
    """
    :param command: program and arguments; relative to ``cwd``.
    :param env: its environment variables.
    :param cwd: empty for the node's own working directory.
    :param address_taken: called before each start: a Deferred of whether another process listens on
        the plugin's address. Then the plugin could not, and requests would reach that process.
    :ivar end: how the last run ended, such as ``its process ended: exit status 1``; empty before that.
    :ivar cannot_run: why the last run could not begin, such as a program that is missing; else empty.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        address_taken: Callable[[], Deferred[bool]],
        context: Context,
    ) -> None:
        self._command = tuple(command)
        self._env = env
        self._cwd = cwd
        self._address_taken = address_taken
        self._metrics = context.metrics
        self._reactor = context.reactor
        self._run: _Run | None = None
        self._on_start: Callable[[], object] = lambda: None
        self._on_end: Callable[[str], object] = lambda how: None
        self._given_up: tuple[str, str] | None = None
        self._stopped = False
        self.end = self.cannot_run = ""
        self._starting: Deferred[None] = succeed(None)
        self._again: IDelayedCall | None = None
        self._backoff = FIRST_BACKOFF
        self._started_at = 0.0

    def start(self, on_start: Callable[[], object], on_end: Callable[[str], object]) -> None:
        """
        Start the process, and from now on start it again whenever it ends.

        :param on_start: called each time it has been started.
        :param on_end: called with a text each time it ends by itself or can't be started.
        """
        self._on_start = on_start
        self._on_end = on_end
        self._begin()

    def _begin(self) -> None:
        self._again = None
        self._started_at = self._reactor.seconds()
        self._starting = self._address_taken().addCallback(self._spawn)
        self._starting.addErrback(_ignore_cancelled)

    def _spawn(self, taken: bool) -> None:
        if taken:
            self._try_again("it can't be started: something else listens at its address", "address taken")
            return
        run = _Run(self._reactor, self._ended)
        try:
            run.start(guarded(self._command, self._cwd), self._env)
        except Exception as error:  # whatever it is, it may pass
            reason = getattr(error, "strerror", None) or describe(error)
            self._try_again(f"it can't be started: {reason}", "not started")
            return
        self._run = run
        # Without its arguments: there may be secrets among them.
        _log.info("started the plugin: {program}", program=self._command[0])
        self._on_start()

    def _ended(self, reason: Failure) -> None:
        run, self._run = self._run, None
        if run is None:
            return  # it was asked to
        how = f"its process ended: {exit_text(reason)}"
        kind = "signal" if "signal" in how else "exit"
        status = getattr(reason.value, "exitCode", None)
        if status == EXIT_NOT_STARTED and run.last_line.startswith("can't run "):
            how, kind = f"it can't be started: {run.last_line}", "not started"
        self.cannot_run = run.last_line if status in (EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE) else ""
        if self._given_up:
            (how, kind), self._given_up = self._given_up, None
        self._try_again(how, kind)

    def _try_again(self, how: str, reason: str) -> None:
        """:param reason: for the metrics: one of a handful."""
        if self._reactor.seconds() - self._started_at >= LONGEST_BACKOFF:
            self._backoff = FIRST_BACKOFF
        self.end = how
        self._on_end(how)
        if self._stopped:
            return
        self._metrics.plugin_restarts.labels(reason).inc()
        if reason == ASKED_FOR:
            _log.info("the plugin has ended: {how}; starting it again", how=how)
            self._again = self._reactor.callLater(0, self._begin)
            return
        _log.error(
            "the plugin is down: {how}; starting it again in {pause:g} s", how=how, pause=self._backoff
        )
        self._again = self._reactor.callLater(self._backoff, self._begin)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)

    def restart(self, why: str, kind: str = "not responding") -> None:
        """
        End the process, and start it again as after any other end; at once where it is waiting for that.

        :param why: for a person, such as ``it has stopped responding``.
        :param kind: for the metrics; after `ASKED_FOR` it is started again at once.
        """
        if self._again is not None and self._again.active():
            self._again.reset(0)
        elif self._run is not None and self._given_up is None:
            self._given_up = why, kind
            self._run.end()

    def stop(self) -> Deferred[None]:
        """
        End the process and its children: SIGTERM, and SIGKILL for what is left after a while.

        :returns: a Deferred that fires when the process has ended.
        """
        self._stopped = True
        self._starting.cancel()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        run, self._run = self._run, None
        return succeed(None) if run is None else run.end()
