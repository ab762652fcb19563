"""Work on the outbox that waits while the disk is full, read-only, locked or broken."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.errors import StartupError, StorageError
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

#: Seconds between two tries while the disk fails, and after which one that has not ended is said to hang.
PAUSE, SLOW = 2.0, 5.0
COMPONENT = "state folder"
#: What the disk is at fault for; any other error is that of the work.
DISK_ERRORS = (sqlite3.OperationalError, OSError, StartupError)

_Work = Callable[[], Deferred[Any]]


class Storage:
    """
    Does work in order, one at a time: the outbox has one thread, and what came later must not overtake
    what the disk refused.

    What is refused is tried again until it is taken: the events behind it stay open meanwhile, so that
    nothing is handled twice and triggers slow down.

    :ivar failing: whether the disk refused the last try, or has not responded to it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._clock = context.reactor
        self._current: tuple[_Work, Deferred[Any]] | None = None
        self._waiting: deque[tuple[_Work, Deferred[Any]]] = deque()
        self._retry: IDelayedCall | None = None
        self._began = 0.0
        self._closed = False
        self.failing = False

    def do(self, work: _Work) -> Deferred[Any]:
        """:returns: a Deferred of what ``work`` gives; fails with `StorageError` once closed."""
        if self._closed:
            return fail(_stopped())
        done: Deferred[Any] = Deferred()
        self._waiting.append((work, done))
        if self._current is None:
            self._next()
        return done

    def look(self) -> None:
        """Notice a disk that does not respond; called every second."""
        hangs = self._current is not None and self._retry is None
        if hangs and self._clock.seconds() - self._began >= SLOW and not self.failing:
            self._note(f"it has not responded for {SLOW:g} s")

    def idle(self) -> bool:
        """Whether there is no work."""
        return self._current is None

    def close(self) -> None:
        """Try no more; what waits fails. A try that is under way ends by itself."""
        self._closed = True
        if self._retry is not None and self._current is not None:
            self._retry.cancel()
            self._waiting.appendleft(self._current)
            self._retry = self._current = None
        while self._waiting:
            self._waiting.popleft()[1].errback(_stopped())

    def _next(self) -> None:
        self._current = None
        if self._waiting:
            self._current = self._waiting.popleft()
            self._try()

    def _try(self) -> None:
        assert self._current is not None
        self._retry = None
        self._began = self._clock.seconds()
        self._current[0]().addCallbacks(self._taken, self._failed)

    def _taken(self, value: Any) -> None:
        if self.failing:
            self.failing = False
            self._context.readiness.well(COMPONENT)
            self._context.disk.set(True)
            _log.info("the disk takes task results again")
        self._finish(value)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(*DISK_ERRORS):
            self._finish(failure)  # this work alone is at fault
            return
        self._note(f"{failure.getErrorMessage()}; tried again every {PAUSE:g} s")
        if self._closed:
            self._finish(Failure(_stopped()))
        else:
            self._retry = self._clock.callLater(PAUSE, self._try)

    def _finish(self, result: Any) -> None:
        assert self._current is not None
        self._current[1].callback(result)  # what this asks for waits its turn
        self._next()

    def _note(self, why: str) -> None:
        self._context.metrics.storage_errors.inc()
        text = f"the disk takes no task results: {why}"
        advice = "free space in system.state_dir, or make it writable; the node goes on by itself"
        self._context.readiness.problem(COMPONENT, text, advice)
        if not self.failing:
            self.failing = True
            _log.error("{text}", text=text)
            self._context.disk.set(False)


def _stopped() -> StorageError:
    return StorageError("the node stopped before the disk took it")
