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

from scfd.errors import StorageError
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

#: Seconds between two tries while the disk fails.
PAUSE = 2.0
COMPONENT = "state folder"

_Work = Callable[[], Deferred[Any]]


class Storage:
    """
    Does work in order. What the disk refuses is kept and tried again, one try for all that waits: the
    events behind it stay open meanwhile, so that nothing is handled twice and triggers slow down.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[tuple[_Work, Deferred[Any]]] = deque()
        self._retry: IDelayedCall | None = None
        self._failing = self._closed = False

    def do(self, work: _Work) -> Deferred[Any]:
        """:returns: a Deferred of what ``work`` gives; fails with `StorageError` once closed."""
        if self._waiting:
            return self._wait(work)
        return work().addErrback(self._refused, work)

    def close(self) -> None:
        """Try no more; what waits fails."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        while self._waiting:
            self._waiting.popleft()[1].errback(StorageError("the node stopped before the disk took it"))

    def _refused(self, failure: Failure, work: _Work) -> Deferred[Any]:
        failure.trap(sqlite3.OperationalError)
        self._note(failure)
        return self._wait(work)

    def _wait(self, work: _Work) -> Deferred[Any]:
        if self._closed:
            return fail(StorageError("the node stopped before the disk took it"))
        done: Deferred[Any] = Deferred()
        self._waiting.append((work, done))
        if len(self._waiting) == 1:
            self._later()
        return done

    def _later(self) -> None:
        if not self._closed:
            self._retry = self._context.reactor.callLater(PAUSE, self._try)

    def _try(self) -> None:
        self._retry = None
        self._waiting[0][0]().addCallbacks(self._done, self._failed)

    def _done(self, value: Any) -> None:
        self._finish(value)

    def _failed(self, failure: Failure) -> None:
        if failure.check(sqlite3.OperationalError):
            self._note(failure)
            self._later()
        else:
            self._finish(failure)  # this work alone is at fault

    def _finish(self, result: Any) -> None:
        if self._closed:
            return
        _, done = self._waiting.popleft()
        if self._failing and not isinstance(result, Failure):
            self._failing = False
            self._context.readiness.well(COMPONENT)
            _log.info("the disk takes task results again")
        if self._waiting:
            self._retry = self._context.reactor.callLater(0, self._try)
        done.callback(result)

    def _note(self, failure: Failure) -> None:
        self._context.metrics.storage_errors.inc()
        text = f"the disk takes no task results: {failure.getErrorMessage()}; tried again every {PAUSE:g} s"
        self._context.readiness.problem(COMPONENT, text)
        if not self._failing:
            self._failing = True
            _log.error("{text}", text=text)
