"""What happens, as it happens: server-sent events for the node's page."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from scfd.events.wire import to_json
from scfd.status.context import Context
from scfd.status.history import PastEvent
from scfd.web import Response, StreamWriter

_log = Logger(namespace="scfd.admin")

#: Listeners at a time: each is a page somebody looks at.
MOST_STREAMS = 20
#: Seconds between two looks at what is to be sent, and between two messages of how the node is.
INTERVAL, STATUS_INTERVAL = 0.5, 2.0
#: Events that one listener is sent at once; of more the newest.
MOST_EVENTS = 100


@define(eq=False)
class _Listener:
    writer: StreamWriter
    events: deque[PastEvent] = field(factory=lambda: deque(maxlen=MOST_EVENTS))


class Stream:
    """
    Sends each listener the events that end, and the status of the node.

    :param status: makes the latter.
    """

    def __init__(self, context: Context, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status
        self._clock = context.reactor
        self._history = context.history
        self._listeners: list[_Listener] = []
        self._next_status = 0.0
        self._loop = LoopingCall(self._look)
        self._loop.clock = context.reactor
        self._end_watch: Callable[[], None] | None = None

    def response(self) -> Response:
        """What a new listener gets."""
        if len(self._listeners) >= MOST_STREAMS:
            return Response.json({"message": f"{MOST_STREAMS} pages listen already"}, 503)
        return Response(
            200, b"", {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}, opened=self._opened
        )

    def _opened(self, writer: StreamWriter) -> Callable[[], None]:
        listener = _Listener(writer)
        self._listeners.append(listener)
        if self._end_watch is None:
            self._end_watch = self._history.watch(self._ended)
            self._loop.start(INTERVAL, now=False)
        writer.write(_message("status", self._status()))

        def closed() -> None:
            self._listeners.remove(listener)
            if not self._listeners and self._end_watch is not None:
                self._end_watch()
                self._end_watch = None
                self._loop.stop()

        return closed

    def _ended(self, past: PastEvent) -> None:
        for listener in self._listeners:
            listener.events.append(past)

    def _look(self) -> None:
        try:
            self._send()
        except Exception:
            _log.failure("a page could not be told what happens")

    def _send(self) -> None:
        status = b""
        if self._clock.seconds() >= self._next_status:
            self._next_status = self._clock.seconds() + STATUS_INTERVAL
            status = _message("status", self._status())
        for listener in list(self._listeners):
            if not listener.writer.ready:
                continue  # a slow one gets the newest once it reads again
            events = [past.summary() for past in listener.events]
            listener.events.clear()
            listener.writer.write((_message("events", events) if events else b"") + status)


def _message(kind: str, data: object) -> bytes:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), to_json(data))
