"""Notices that the process stood still, or that somebody has set the clock."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

_log = Logger(namespace="scfd.timer")

#: Seconds from one tick to the next beyond which the process stood still: ticks are 1 s apart.
LONGEST_STEP = 1.5
#: Seconds that timers wait at most for a clock that was set back.
LONGEST_WAIT = 60.0
#: Seconds that the wall clock may stray from the monotonic one between two ticks.
DRIFT = 0.5


class Standstill:
    """
    Compares the wall clock with one that nobody sets.

    After a freeze of the process (SIGSTOP, a frozen cloud instance) both clocks have moved on. After a sleep
    of the machine, or when somebody set the clock, only the wall clock has jumped.

    :param monotonic: seconds.
    :ivar set_back: whether the last look found the clock set back so far that nobody can wait for it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = self._steady = 0.0
        self._story = ""
        self.set_back = False

    def start(self, now: float, ago: float = 0.0) -> None:
        """
        :param now: the wall clock, seconds since the epoch.
        :param ago: how many seconds ago it was that.
        """
        self._wall, self._steady = now, self._monotonic() - ago

    def look(self, now: float) -> bool:
        """
        :param now: the wall clock, seconds since the epoch.
        :returns: whether ticks have been missed since the last look.
        """
        steady = self._monotonic()
        wall_step, steady_step = now - self._wall, steady - self._steady
        self._wall, self._steady = now, steady
        self.set_back = steady_step - wall_step > LONGEST_WAIT
        if wall_step - steady_step < -DRIFT:
            self._tell_set_back(steady_step - wall_step)
        if wall_step <= LONGEST_STEP:
            return False
        jumped = wall_step - steady_step > DRIFT
        self._story = (
            f"the clock jumped forward by {wall_step:.1f} s"
            if jumped
            else (f"the process stood still for {wall_step:.1f} s")
        )
        return True

    def _tell_set_back(self, back: float) -> None:
        _log.warn(
            "the clock was set back by {back:.1f} s: {what}",
            back=back,
            what="timers go on from there, and may fire again for moments that have been"
            if self.set_back
            else "timers wait until it has caught up, so that none fires twice",
        )

    def tell(self, missed: int) -> None:
        """Log in one line what the last look found, and how many fires were missed by it."""
        if self._story:
            _log.warn("{story}: {missed} timer fires were missed", story=self._story, missed=missed)
            self._story = ""
