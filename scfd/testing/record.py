"""What a test may look at afterwards: log lines and results."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from scfd.errors import describe
from scfd.events.wire import rfc3339
from scfd.logs import bridge_stdlib
from scfd.testing.mistakes import TestingError


@frozen
class Result:
    """
    A task result as the control plane has it.

    :ivar status: a `scfd.events.event.TaskStatus`.
    :ivar at: when it arrived, RFC 3339.
    """

    task_id: str
    status: int
    result: str
    node_id: str
    at: str = ""


@implementer(ILogObserver)
class Log:
    """
    The log of one node.

    :param now: seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._events: list[tuple[float, LogEvent]] = []

    def lines(self) -> list[str]:
        """Time, level, namespace and text of each line, the oldest first."""
        return [_line(at, event) for at, event in self._events]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take what is logged meanwhile, also by way of :mod:`logging`."""
        root = logging.getLogger()
        handlers = list(root.handlers)
        bridge_stdlib()
        globalLogPublisher.addObserver(self)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(self)
            root.handlers[:] = handlers

    def __call__(self, event: LogEvent) -> None:
        self._events.append((self._now(), event))


def _line(at: float, event: LogEvent) -> str:
    level = getattr(event.get("log_level"), "name", "info")
    failure = event.get("log_failure")
    reason = f": {describe(failure.value)}" if failure is not None else ""
    return f"{rfc3339(at)} {level} {event.get('log_namespace', '')}: {formatEvent(event)}{reason}"


class Sleeps:
    """
    Refuses `time.sleep` where it would hold up the whole node.

    :ivar caught: the first call that was refused; None when there was none.
    """

    def __init__(self) -> None:
        self.caught: TestingError | None = None

    @contextmanager
    def refused(self) -> Iterator[None]:
        """In this thread; others may sleep."""
        thread, really_sleep = threading.get_ident(), time.sleep

        def sleep(seconds: Any) -> None:
            if threading.get_ident() != thread:
                really_sleep(seconds)
                return
            frame: Any = sys._getframe(1)
            error = TestingError(
                f"{frame.f_code.co_filename}:{frame.f_lineno}: time.sleep({seconds:g}) holds up the node;"
                f" expected await asyncio.sleep({seconds:g}), or a plugin that declares IBlockingPlugin"
            )
            self.caught = self.caught or error
            raise error

        time.sleep = sleep
        try:
            yield
        finally:
            time.sleep = really_sleep
