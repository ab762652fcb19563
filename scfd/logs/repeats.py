"""A fault that comes a thousand times a second is said once, and then summed up."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python import threadable
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.logs.fields import failure_of, level_of, text_of
from scfd.status.metrics import Count

#: Seconds in which what is the same is summed up after it was said; doubled while it goes on.
FIRST_WINDOW, LONGEST_WINDOW = 1.0, 60.0
#: Different lines that are watched at a time; beyond them nothing is summed up.
MOST_LINES = 1_000


@define
class _Line:
    """
    :ivar window: seconds, now.
    :ivar count: how often it came since it was said.
    :ivar last: the last of these.
    """

    window: float
    count: int = 0
    last: LogEvent | None = None


@implementer(ILogObserver)
class Repeats:
    """
    Passes events on. Of warnings and worse, what is the same within a window is counted, and said at its end.

    The same are events with the same fields, besides those of a single event: its ids, and what it was about.

    :param clock: an `IReactorTime`, asked for when it is needed first: the log begins before the reactor.
    :ivar left_out: counts what was not said.
    """

    def __init__(self, behind: Callable[[LogEvent], object], clock: Any = None) -> None:
        self._behind = behind
        self._clock = clock
        self._lines: dict[object, _Line] = {}
        #: Plugins log in threads as well.
        self._lock = threading.RLock()
        self.left_out = Count()

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) < LogLevel.warn or event.get("on_stderr"):
            self._behind(event)
            return
        key = _key(event)
        with self._lock:
            line = self._lines.get(key)
            if line is not None:
                line.count += 1
                line.last = event
                self.left_out.inc()
                return
            is_watched = len(self._lines) < MOST_LINES
            if is_watched:
                self._lines[key] = _Line(FIRST_WINDOW)
        self._behind(event)
        if is_watched:
            self._later(FIRST_WINDOW, key)

    def _later(self, seconds: float, key: object) -> None:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = reactor
        # Before the reactor runs there is no such thread.
        if threadable.ioThread is None or threadable.isInIOThread():
            self._clock.callLater(seconds, self._over, key)
        else:
            self._clock.callFromThread(self._clock.callLater, seconds, self._over, key)

    def _over(self, key: object) -> None:
        with self._lock:
            line = self._lines[key]
            last, count, window = line.last, line.count, line.window
            if last is None:
                del self._lines[key]
                return
            line.window = min(window * 2, LONGEST_WINDOW)
            line.count, line.last = 0, None
        self._behind(_summed(last, count, window))
        self._later(line.window, key)

    def flush(self) -> None:
        """Say now what has been counted: the process ends."""
        with self._lock:
            lines, self._lines = self._lines, defaultdict(lambda: _Line(LONGEST_WINDOW))
        for line in lines.values():
            if line.last is not None:
                self._behind(_summed(line.last, line.count, line.window))


#: What each event of a trigger has for itself: lines that differ in nothing else are the same.
_OF_ONE_EVENT = frozenset(
    ("event", "trace", "what", "time", "log_time", "log_logger", "log_source", "log_failure", "failure")
)


def _key(event: LogEvent) -> object:
    failure = failure_of(event)
    error = (failure.type, failure.getErrorMessage()) if isinstance(failure, Failure) else ""
    fields = [(name, _shown(value)) for name, value in event.items() if name not in _OF_ONE_EVENT]
    return tuple(sorted(fields)), str(error)


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return type(value).__name__


def _summed(last: LogEvent, count: int, seconds: float) -> LogEvent:
    """The last of them, saying how many there were."""
    shown = {name: value for name, value in last.items() if name not in ("log_failure", "failure")}
    failure = failure_of(last)
    if isinstance(failure, Failure):
        shown["error"], shown["error_type"] = failure.getErrorMessage(), type(failure.value).__name__
    return {
        **shown,
        "log_format": "{text} ({count} more like it in {seconds:g} s)",
        "text": text_of(last),
        "count": count,
        "seconds": seconds,
    }
