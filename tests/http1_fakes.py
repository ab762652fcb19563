"""The far end of connections made by `scfd.http1`, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from scfd.http1.client import ClientConnection
from scfd.http1.contract import ResponseHead, Upstream, UpstreamError
from scfd.http1.turn import Turn

#: Writes at once.
AT_ONCE = Turn(lambda function: function())


class FakeTransport(asyncio.Transport):
    """
    :ivar sent: everything that was written.
    :ivar unsent: what `get_write_buffer_size` says.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.sent = b""
        self.unsent = 0
        self.reading = True
        self.ended = ""
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        assert not self.ended, "written to a connection that is closed"
        self.sent += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return bool(self.ended)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"

    def receive(self, data: bytes) -> None:
        assert self.reading, "nothing arrives while reading is paused"
        self.protocol.data_received(data)

    def lose(self, error: Exception | None = None) -> None:
        """The far end closes, or the connection breaks."""
        if error is None:
            self.protocol.eof_received()
        self.ended = self.ended or "lost"
        self.protocol.connection_lost(error)


class FakeConnector:
    """A `Connector` whose connections are made when a test says so."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Callable[[], ClientConnection], Deferred[Any]]] = []

    def __call__(self, factory: Callable[[], ClientConnection]) -> Deferred[Any]:
        made: Deferred[Any] = Deferred()
        self.attempts.append((factory, made))
        return made

    def accept(self) -> FakeTransport:
        """Let the attempt that is the longest under way succeed."""
        factory, made = self.attempts.pop(0)
        connection = factory()
        transport = FakeTransport(connection)
        made.callback((transport, connection))
        return transport

    def refuse(self, error: Exception) -> None:
        self.attempts.pop(0)[1].errback(error)


class FakeExchange:
    """
    Sends one request and notes what it hears.

    :ivar heard: ``("head", 200)``, ``("data", b"…")``, ``("end",)`` and the like.
    """

    def __init__(
        self,
        request: bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        bodiless: bool = False,
        upgradable: bool = False,
        whole: bool = True,
    ) -> None:
        self.request = request
        self.bodiless = bodiless
        self.upgradable = upgradable
        self.whole = whole
        self.heard: list[tuple[Any, ...]] = []
        self.connection: Upstream | None = None
        self.head: ResponseHead | None = None
        #: Called with the name of each callback after it was noted.
        self.then: Callable[[str], object] = lambda name: None

    def _hear(self, *what: Any) -> None:
        assert not self.over(), f"{what} after the end"
        self.heard.append(what)
        self.then(what[0])

    def over(self) -> bool:
        return bool(self.heard) and self.heard[-1][0] in ("end", "failure")

    def on_connection(self, connection: Upstream) -> None:
        self.connection = connection
        connection.send(self.request, self.bodiless, self.upgradable)
        if self.whole:
            connection.end()

    def on_informational(self, head: ResponseHead) -> None:
        self._hear("informational", head.status)

    def on_head(self, head: ResponseHead) -> None:
        self.head = head
        self._hear("head", head.status)

    def on_data(self, data: bytes) -> None:
        self._hear("data", data)

    def on_read(self) -> None:
        assert not self.over(), "a read after the end"

    def on_end(self) -> None:
        self._hear("end")

    def on_failure(self, error: UpstreamError) -> None:
        self._hear("failure", type(error).__name__, str(error))

    def on_writable(self, writable: bool) -> None:
        self._hear("writable", writable)

    def body(self) -> bytes:
        return b"".join(what[1] for what in self.heard if what[0] == "data")
