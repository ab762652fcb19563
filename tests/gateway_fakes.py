"""A gateway without sockets: callers on one side, the plugin's end of its connections on the other."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import GatewaySettings
from scfd.gateway.observer import GatewayObserver
from scfd.gateway.routes import FORWARDED, served_locally
from scfd.http1.contract import Backend
from scfd.http1.forward import Forwarder
from scfd.http1.front import Front
from scfd.http1.heads import Route
from scfd.http1.pool import Pool
from scfd.http1.server import ServerConnection
from scfd.http1.turn import Turn
from scfd.status.context import Context
from scfd.web import Routes
from tests.http1_fakes import AT_ONCE, FakeConnector, FakeTransport
from tests.http_fakes import Received, parse


class CallerEnd(FakeTransport):
    """
    A caller's connection to a gateway.

    :ivar sent: what the gateway has written and `take` has not taken.
    :ivar eof: whether the gateway has said that it will write no more.
    :ivar reset: whether its caller sees a broken connection at the end.
    """

    stays = half_closed = False

    def __init__(self, protocol: Any, peer: tuple[str, int] = ("10.1.2.3", 54321)) -> None:
        self._peer = peer
        self.eof = self.reset = False
        super().__init__(protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self._peer, "socket": self}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None and high <= 1 << 20

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)
        self.reset = True

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        assert not self.eof, "written after its end"
        super().write(data)

    def write_eof(self) -> None:
        self.eof = True

    def resume_reading(self) -> None:
        assert not self.half_closed, "the end would be read again and again"
        super().resume_reading()

    def receive(self, data: bytes) -> None:
        """Let the gateway read something, as much as it takes at once."""
        protocol: Any = self.protocol
        while data:
            assert self.reading, "nothing is read while reading is paused"
            assert not self.ended
            buffer = protocol.get_buffer(-1)
            part, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(part)] = part
            protocol.buffer_updated(len(part))

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> None:
        """Send a request."""
        lines = [f"{method} {target} HTTP/1.1", "Host: node.example:9000", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.receive("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def take(self) -> bytes:
        """What the gateway has written since the last time."""
        sent, self.sent = self.sent, b""
        return sent

    def response(self, method: str = "GET") -> Received:
        """The same, as one response."""
        return parse(self.take(), method)

    @property
    def closed(self) -> bool:
        """Whether no further request is read."""
        return bool(self.ended) or self.eof


def make_front(
    settings: GatewaySettings,
    routes: Routes,
    backend: Backend,
    context: Context,
    turn: Turn,
    events_at: str | None = None,
) -> Front:
    """As `scfd.gateway.make.gateway_front`, with another turn."""
    observer = GatewayObserver(context.metrics, settings.access_log)
    local = served_locally(routes, settings.max_body, events_at)
    return Front(settings, backend, local, FORWARDED, observer, context.reactor, context.now, turn)


class GatewayTestCase(SynchronousTestCase):
    """
    :ivar connector: the plugin's end of the gateway's connections.
    """

    settings = GatewaySettings()
    routes: Routes = Routes()
    base_path = b""
    events_at: str | None = None
    pool_size = 10

    def setUp(self) -> None:
        self.clock = Clock()
        self.context = Context(self.clock, lambda: 0.0)
        self.metrics = self.context.metrics
        self.connector = FakeConnector()
        self.pool = Pool(self.connector, self.pool_size, 4.0, 5.0, self.clock, AT_ONCE)
        self.front = self.make_front(self.settings, self.backend())

    def backend(self) -> Backend:
        route = Route(self.base_path, b"plugin:9001", FORWARDED, self.settings.preserve_host)
        buffered = self.settings.request_buffer
        return Forwarder(self.pool, route, buffered, self.metrics.gateway_retries.inc)

    def make_front(self, settings: GatewaySettings, backend: Backend) -> Front:
        return make_front(settings, self.routes, backend, self.context, AT_ONCE, self.events_at)

    def caller(self, peer: tuple[str, int] = ("10.1.2.3", 54321)) -> CallerEnd:
        return CallerEnd(ServerConnection(self.front), peer)

    def wait(self, seconds: float) -> None:
        """Let time pass; deadlines are looked after every 0.1 s."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            self.front.expire()

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"scfd_{name}", labels) or 0.0

    def status_of(self, data: bytes, *, connection: CallerEnd | None = None) -> int:
        """The status of the first response to some bytes; 0 for none."""
        caller = connection or self.caller()
        caller.receive(data)
        sent = caller.take()
        return int(sent.split(b" ", 2)[1]) if sent else 0


def lines_of(head: bytes) -> tuple[str, list[str], bytes]:
    """:returns: first line, header lines and body of a message."""
    head, _, body = head.partition(b"\r\n\r\n")
    first, *headers = head.decode("latin-1").split("\r\n")
    return first, headers, body
