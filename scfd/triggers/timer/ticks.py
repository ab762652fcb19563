"""The node's pulse: a call every second, minute and hour, on the wall clock's own boundaries."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger(namespace="scfd.ticks")

SECOND, MINUTE, HOUR = 1, 60, 3600


class Tick(Service):
    """
    Calls a function at each whole multiple of an interval since the epoch.

    The function may raise, or return a Deferred that fails: that is logged, and the next tick comes all
    the same.

    :param interval: seconds.
    :param function: called with the wall clock, seconds since the epoch.
    :param clock: waits; it need not be the wall clock, which may be set at any time.
    :param now: the wall clock, seconds since the epoch.
    :param at_once: begin at the start, not at the next full interval.
    """

    def __init__(
        self,
        interval: int,
        function: Callable[[float], object],
        clock: IReactorTime,
        now: Callable[[], float],
        at_once: bool = False,
    ) -> None:
        self._interval = interval
        self._function = function
        self._clock = clock
        self._now = now
        self._at_once = at_once
        self._waiting: IDelayedCall | None = None
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()
        pause = 0.0 if self._at_once else self._interval - self._now() % self._interval
        self._waiting = self._clock.callLater(pause, self._start)

    def stopService(self) -> None:
        super().stopService()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._loop.running:
            self._loop.stop()

    def _start(self) -> None:
        self._waiting = None
        self._loop.start(self._interval, now=True)

    def _tick(self) -> None:
        now = self._now()
        # A LoopingCall keeps the phase it was started in: 400-900 ms late was seen before it was
        # aligned at all, and up to 1.5 ms more than need be when only its start was. So it is told at
        # each tick when the interval began. A tick that came early (the clock was slewed) is then
        # followed by another at the boundary.
        self._loop.starttime = self._clock.seconds() - now % self._interval
        # A Deferred is not waited for: a slow one must not hold up the pulse.
        maybeDeferred(self._function, now).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        _log.failure("a tick of {interval} s failed", failure, interval=self._interval)
