"""A fault that comes a thousand times a second is said once, and then summed up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.logs.fields import failure_of, level_of, namespace_of, text_of
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

    The same are events of one namespace and trigger with one error; where they name none, with one text.

    :param clock: an `IReactorTime`, asked for when it is needed first: the log begins before the reactor.
    :ivar left_out: counts what was not said.
    """

    def __init__(self, behind: Callable[[LogEvent], object], clock: Any = None) -> None:
        self._behind = behind
        self._clock = clock
        self._lines: dict[object, _Line] = {}
        self.left_out = Count()

    def __call__(self, event: LogEvent) -> None:
        if level_of(event) < LogLevel.warn or event.get("on_stderr"):
            self._behind(event)
            return
        key = _key(event)
        line = self._lines.get(key)
        if line is not None:
            line.count += 1
            line.last = event
            self.left_out.inc()
            return
        self._behind(event)
        if len(self._lines) < MOST_LINES:
            self._lines[key] = _Line(FIRST_WINDOW)
            self._later(FIRST_WINDOW, key)

    def _later(self, seconds: float, key: object) -> None:
        if self._clock is None:
            from twisted.internet import reactor

            self._clock = reactor
        self._clock.callLater(seconds, self._over, key)

    def _over(self, key: object) -> None:
        line = self._lines[key]
        if not line.count or line.last is None:
            del self._lines[key]
            return
        self._behind(_summed(line.last, line.count, line.window))
        line.window = min(line.window * 2, LONGEST_WINDOW)
        line.count, line.last = 0, None
        self._later(line.window, key)


def _key(event: LogEvent) -> object:
    failure = failure_of(event)
    error: object = event.get("error")
    if isinstance(failure, Failure):
        error = failure.type, failure.getErrorMessage()
    if error is None:
        error = text_of(event)
    return namespace_of(event), level_of(event), event.get("trigger"), event.get("log_format"), str(error)


def _summed(last: LogEvent, count: int, seconds: float) -> LogEvent:
    """The last of them, saying how many there were."""
    shown = {name: value for name, value in last.items() if name not in ("log_failure", "failure")}
    return {
        **shown,
        "log_format": "{text} ({count} more like it in {seconds:g} s)",
        "text": text_of(last),
        "count": count,
        "seconds": seconds,
    }
