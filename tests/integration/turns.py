"""How long the reactor has no turn."""

from __future__ import annotations

import time

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall


class Turns:
    """
    Watches from its beginning on.

    :ivar longest: seconds of the longest pause between two turns; of CPU time where that is less, since the
        machine has other work.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = self._now()
        self._loop = LoopingCall(self._turn)
        self._done = self._loop.start(0.001)

    def stop(self) -> Deferred[LoopingCall]:
        self._turn()
        self._loop.stop()
        return self._done

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def _turn(self) -> None:
        now = self._now()
        self.longest = max(self.longest, min(b - a for a, b in zip(self._last, now, strict=True)))
        self._last = now
