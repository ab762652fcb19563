"""A thread that says where a native plugin blocks the reactor."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.events.event import TriggerEvent
from scfd.status.context import Context

_log = Logger(namespace="scfd.plugin")

#: Seconds without a turn of the reactor after which it counts as blocked.
LIMIT = 1.0
#: Seconds between two questions whether it turns.
PERIOD = 0.5
#: Functions that are shown, the innermost ones.
LONGEST_STACK = 15
#: Seconds until a block that goes on is said again; doubled each time.
AGAIN = 10.0


class BlockedError(Exception):
    """The reactor was blocked; its traceback is where."""


class Watchdog(Service):
    """
    While the reactor is blocked no event, request or heartbeat is handled, and none of its timers could tell.

    :param plugin_name: for the log.
    """

    def __init__(self, plugin_name: str, context: Context) -> None:
        self._plugin_name = plugin_name
        self._reactor = context.reactor
        self._stalls = context.metrics.plugin_stalls
        self._watched = 0
        self._turned = threading.Event()
        self._stopping = threading.Event()

    def startService(self) -> None:
        super().startService()
        self._watched = threading.get_ident()
        threading.Thread(target=self._watch, name="scfd-watchdog", daemon=True).start()

    def stopService(self) -> None:
        super().stopService()
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(PERIOD):
            self._turned.clear()
            asked = time.monotonic()
            self._reactor.callFromThread(self._turned.set)
            if self._turned.wait(LIMIT) or self._stopping.is_set():
                continue
            # A process that was stopped from outside, or has too little CPU, proves nothing.
            if time.monotonic() - asked < 2 * LIMIT:
                self._stalls.inc()
                self._blocked(asked)

    def _blocked(self, since: float) -> None:
        again = AGAIN
        self._say(since)
        while not self._turned.wait(again):
            again *= 2
            self._say(since)
        _log.warn(
            "the reactor goes on after {seconds:.1f} s in plugin {name}",
            seconds=time.monotonic() - since,
            name=self._plugin_name,
        )

    def _say(self, since: float) -> None:
        frames = list(_stack(sys._current_frames().get(self._watched)))
        trigger = _trigger(frames)
        failure = Failure(BlockedError("the reactor is here"), BlockedError, _traceback(frames))
        _log.error(
            "plugin {name} has blocked the reactor for {seconds:.1f} s{where}; nothing else runs meanwhile",
            name=self._plugin_name,
            seconds=time.monotonic() - since,
            where=f", at an event of trigger {trigger}" if trigger else "",
            log_failure=failure,
        )


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and its callers, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _trigger(frames: list[FrameType]) -> str:
    """The trigger whose event one of the functions has at hand; empty when none has."""
    for frame in frames:
        for value in list(frame.f_locals.values()):
            if isinstance(value, TriggerEvent):
                return value.name
    return ""


def _traceback(frames: list[FrameType]) -> TracebackType | None:
    """As of an exception in the innermost frame, from where the node calls its plugin on."""
    traceback = None
    for frame in frames[:LONGEST_STACK]:
        if traceback is not None and frame.f_globals.get("__name__") == "scfd.adapter.native":
            break
        traceback = TracebackType(traceback, frame, frame.f_lasti, frame.f_lineno)
    return traceback
