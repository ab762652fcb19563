"""The life of a node: services start one after another, drain together, stop in reverse order."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd import signals
from scfd.deferreds import detached
from scfd.errors import EXIT_ASKED_TO_STOP, EXIT_COULD_NOT_START, StartupError, describe
from scfd.identity import Identity
from scfd.interfaces import IDrainable
from scfd.logs import log_file
from scfd.status.context import Context
from scfd.status.readiness import Phase

_log = Logger(namespace="scfd.node")

#: Seconds that each service has to stop once it is drained; past that it is left behind.
STOP_LIMIT = 5.0
#: Seconds that threads have to end once everything else has.
THREAD_LIMIT = 3.0
#: Seconds in which a second signal counts as the first one: a signal to the process group of `make run`
#: arrives twice, from its sender and from make.
REPEAT_IGNORED = 1.0
#: Seconds that draining may take when another version is to run.
VERSION_DRAIN_LIMIT = 5.0


class Node(MultiService):
    """
    The root of the service tree.

    Services start in the order in which they were added; a ``startService`` that returns a Deferred
    is waited for. When one fails the node ends. To stop, everything drains at once for up to
    ``drain_limit`` seconds, and then the services stop, the last one first.

    :param end: called with an exit status when the node wants its process to end.
    """

    def __init__(
        self, context: Context, identity: Identity, drain_limit: float, end: Callable[[int], None]
    ) -> None:
        super().__init__()
        self._reactor = context.reactor
        self._readiness = context.readiness
        self._identity = identity
        self._drain_limit = drain_limit
        self._end = end
        self._started: list[IService] = []
        self._starting: Deferred[None] = succeed(None)
        self._draining: Deferred[Any] = succeed(None)
        self._on_ready: Callable[[], object] = lambda: None

    def add(self, services: Mapping[str, Any]) -> None:
        """:param services: by name, in the order in which they start; None for one that there is not."""
        for name, service in services.items():
            if service is not None:
                service.setName(name)
                service.setServiceParent(self)

    def on_ready(self, call: Callable[[], object]) -> None:
        """:param call: called once all services are up."""
        self._on_ready = call

    def startService(self) -> None:
        """Begin once the reactor runs; before that nothing could be waited for."""
        self.running = True
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._readiness.enter(Phase.STARTING)
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self.could_not_start)

    async def _start(self) -> None:
        for service in self:
            # Before it starts: a service that is interrupted while it starts has to be stopped as well.
            self._started.append(service)
            await maybeDeferred(service.startService)
        self._readiness.enter(Phase.RUNNING)
        self.settled()
        self._on_ready()

    def settled(self) -> None:
        """Called once all services are up."""
        freeze_heap()
        _log.info("ready")

    def could_not_start(self, failure: Failure) -> None:
        """Say why, and end the process."""
        if failure.check(CancelledError):
            return
        reason = failure.getErrorMessage()
        if not failure.check(StartupError):
            _log.failure("could not start", failure)
            reason = describe(cast(BaseException, failure.value))
        # The real standard error, since twistd has replaced sys.stderr by its log. A log file gets the line
        # as well; on the console it would appear twice.
        print(f"scfd: {reason}", file=sys.__stderr__, flush=True)
        _log.critical("could not start: {reason}", reason=reason, on_stderr=True)
        self._end(EXIT_COULD_NOT_START)

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when all services have stopped. It does not fail."""
        self.running = False
        return Deferred.fromCoroutine(self._stop())

    def leave(self, why: str) -> None:
        """Drain, and end with status 0: somebody has asked for it in another way than by a signal."""
        _log.info("{why}: stopping", why=why)
        self._end(EXIT_ASKED_TO_STOP)

    def leave_for_version(self, wanted: str, status: int) -> None:
        """End, so that the platform starts another version of the business code."""
        _log.critical(
            "version {wanted} should be running, this is {version}: leaving",
            wanted=wanted,
            version=self._identity.version,
        )
        self._drain_limit = min(self._drain_limit, VERSION_DRAIN_LIMIT)
        self._end(status)

    def hurry(self) -> None:
        """Stop waiting for work under way: somebody has asked a second time."""
        self._draining.cancel()

    async def _stop(self) -> None:
        self._readiness.enter(Phase.STOPPING)
        self._starting.cancel()
        await self._drain()
        for service in reversed(self._started):
            name = service.name or type(service).__name__
            try:
                await detached(maybeDeferred(service.stopService)).addTimeout(STOP_LIMIT, self._reactor)
            except TimeoutError:
                _log.warn(
                    "{service} did not stop in {limit:g} s; left behind", service=name, limit=STOP_LIMIT
                )
            except Exception:
                _log.failure("{service} did not stop cleanly", service=name)
        _log.info("stopped")

    async def _drain(self) -> None:
        drains = [
            detached(maybeDeferred(cast(Any, service).drain))
            for service in self._started
            if IDrainable.providedBy(service)
        ]
        began = self._reactor.seconds()
        self._draining = DeferredList(drains, consumeErrors=True)
        # A DeferredList that runs into its timeout cancels the rest, and fires all the same.
        drained = await self._draining.addTimeout(self._drain_limit, self._reactor)
        if not all(success for success, _ in drained):
            _log.warn(
                "work was still under way after {seconds:.1f} s; it is left for later",
                seconds=self._reactor.seconds() - began,
            )


def freeze_heap() -> None:
    """
    Exclude the objects made at start from garbage collection.

    They live as long as the process. Walking through them blocked the reactor for 35-50 ms at each full
    collection, once every few seconds under load; without them it is 2 ms.
    """
    gc.collect()
    gc.freeze()


class ProcessEnd:
    """
    How the process ends: at a signal or when the node asks, with an exit status of its own.

    twistd dies of the signal that stopped it, and knows no other status than 0 otherwise. A platform that
    decides by the status whether to restart a node needs more.

    :ivar status: of the process, once it has been decided.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.status: int | None = None
        self._hurry: Callable[[], None] | None = None
        self._ended_at = 0.0

    def handle_signals(self, hurry: Callable[[], None]) -> None:
        """
        Take the signals over from the reactor, once it runs.

        :param hurry: called when a second signal arrives.
        """
        self._hurry = hurry
        self._reactor.callWhenRunning(self._install)

    def _install(self) -> None:
        later = self._reactor.callFromThread
        signals.handle(
            stop=self._on_signal,
            hang_up=lambda number: later(log_file.reopen),
            user=lambda number: later(log_file.rotate),
        )

    def _on_signal(self, number: int) -> None:
        self._reactor.callFromThread(self._asked_to_stop, signal.Signals(number).name)

    def _asked_to_stop(self, name: str) -> None:
        if self.status is None:
            _log.info("{signal}: stopping", signal=name)
            self.end(EXIT_ASKED_TO_STOP)
        elif self._hurry is not None and self._reactor.seconds() - self._ended_at > REPEAT_IGNORED:
            self._hurry()

    def insist(self) -> None:
        """
        End the process in a while even if a thread never does; to be called at the end of its life.

        The reactor and then Python wait for every thread, and one of the plugin may hang on a dead disk.
        """
        timer = threading.Timer(THREAD_LIMIT, _exit_anyway, [self.status or EXIT_ASKED_TO_STOP])
        timer.daemon = True
        timer.start()

    def end(self, status: int) -> None:
        """Stop the reactor, and let the process end with a status. The first call decides."""
        if self.status is not None:
            return
        self.status = status
        self._ended_at = self._reactor.seconds()
        if status != EXIT_ASKED_TO_STOP:
            atexit.register(_exit, status)
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def _exit_anyway(status: int) -> None:
    _log.critical("a thread of the plugin does not end: the process ends without it")
    _exit(status)


def _exit(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone
            stream.flush()
    os._exit(status)
