"""Threads for native plugins that block."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from scfd.errors import PluginError
from scfd.status.context import Context

_log = Logger(namespace="scfd.plugin")

#: Calls that may wait for a thread.
LONGEST_QUEUE = 1_000


class PluginThreads:
    """
    Threads that only the plugin uses: its calls do not block the reactor, and do not compete with file access
    and name resolution, which use the reactor's threads.

    A thread can't be ended from outside. After its call was given up it is stuck until the call returns.
    While all are stuck, the plugin is unavailable.

    :param size: how many threads.
    :ivar stuck: how many of them still run a call that was given up.
    """

    def __init__(self, size: int, context: Context) -> None:
        self.size = size
        self._readiness = context.readiness
        self._availability = context.availability
        self._reactor = context.reactor
        self._executor = ThreadPoolExecutor(size, "scfd-plugin")
        self._calls = 0
        self._waiting: list[Deferred[None]] = []
        self.stuck = 0

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """
        Call a function in a thread, as soon as one is free.

        :returns: a Deferred of its value. Cancelled, it fails at once; a call that still waits is then
            never made, and one that has begun goes on.
        """
        if self._calls >= self.size + LONGEST_QUEUE:
            return fail(PluginError(f"{LONGEST_QUEUE} calls wait for one of its {self.size} threads already"))
        self._calls += 1
        given_up: list[bool] = []
        future = self._executor.submit(function, *arguments)

        def give_up(called: Deferred[Any]) -> None:
            if future.cancel():
                called.errback(PluginError(f"none of its {self.size} threads was free"))
            else:
                given_up.append(True)
                self._count_stuck(1)

        called: Deferred[Any] = Deferred(give_up)
        future.add_done_callback(
            lambda future: self._reactor.callFromThread(self._ended, future, called, given_up)
        )
        return called

    def busy(self) -> Deferred[None] | None:
        """
        :returns: None when a thread is free for another call; else a Deferred that fires when that may have
            changed. It may be cancelled.
        """
        if self._calls < self.size:
            return None
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def _let_them_look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _ended(self, future: Future[Any], called: Deferred[Any], given_up: list[bool]) -> None:
        try:
            self._pass_on(future, called, given_up)
        finally:
            self._let_them_look()

    def _pass_on(self, future: Future[Any], called: Deferred[Any], given_up: list[bool]) -> None:
        self._calls -= 1
        if given_up:
            self._count_stuck(-1)
        if called.called:
            return
        if future.cancelled():
            called.errback(PluginError("the node is stopping"))
            return
        error = future.exception()
        value = None if error is not None else future.result()
        if isinstance(value, (Deferred, Coroutine)):
            name = type(value).__name__
            error = PluginError(f"returned a {name}; a plugin that blocks returns plain values")
        if error is None:
            called.callback(value)
        else:
            called.errback(Failure(error))

    @property
    def running(self) -> int:
        """How many calls have not returned, without those that were given up."""
        return self._calls - self.stuck

    @property
    def all_stuck(self) -> bool:
        """Whether no thread is left for another call."""
        return self.stuck == self.size

    def _count_stuck(self, change: int) -> None:
        all_were = self.all_stuck
        self.stuck += change
        _log.emit(
            LogLevel.warn if change > 0 else LogLevel.info,
            "{stuck} of {size} threads are at work on an event that was given up",
            stuck=self.stuck,
            size=self.size,
        )
        advice = "mend what blocks in the plugin (its time limits), and restart the node"
        if self.stuck in (0, self.size):
            self._readiness.well("plugin threads")
        else:
            text = f"{self.stuck} of its {self.size} are stuck: that many calls fewer run at once"
            self._readiness.warning("plugin threads", text, advice)
        if self.all_stuck:
            self._availability.set(False)
            self._readiness.problem("plugin", f"all its {self.size} threads are stuck", advice)
            self._let_them_look()
        elif all_were:
            self._readiness.well("plugin")
            self._availability.set(True)

    def stop(self) -> None:
        """Make no more calls. Those that have begun are left to themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)
