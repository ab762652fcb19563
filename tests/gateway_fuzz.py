"""
The gateway against any bytes, in any order: ``python -m tests.gateway_fuzz [COUNT] [SEED]``.

COUNT (100,000) inputs are made out of the malformed and the well-formed messages of the tests, changed at
random. Each is a caller's bytes, a plugin's bytes and the steps in which they arrive, with stalls, losses and
deadlines in between. An input that breaks something is printed with what makes it again.
"""

from __future__ import annotations

import gc
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner, globalLogPublisher
from twisted.web.http_headers import Headers
from zope.interface import implementer

from scfd.config import GatewaySettings
from scfd.gateway.routes import FORWARDED, LocalResponse
from scfd.http1.client import ClientConnection
from scfd.http1.contract import ConnectError
from scfd.http1.forward import Forward, Forwarder
from scfd.http1.heads import Route
from scfd.http1.pool import Pool
from scfd.http1.reader import RequestReader
from scfd.http1.server import ServerConnection
from scfd.http1.turn import Turn
from scfd.status.context import Context
from scfd.web import Response, Routes, route
from tests.gateway_fakes import CallerEnd, make_front
from tests.http1_fakes import FakeConnector, FakeTransport
from tests.malformed import BAD_ANSWERS, BAD_BODIES, BAD_HEADS, ONE_REQUEST, SMUGGLED

#: Objects of which none may be left when all connections are gone.
OURS = (ServerConnection, Forward, LocalResponse, RequestReader, ClientConnection)
_BAD = [message for corpus in (BAD_HEADS, BAD_BODIES, ONE_REQUEST) for message in corpus.values()]
_GOOD = [
    SMUGGLED,
    b"GET /a?b HTTP/1.1\r\nHost: h\r\nCookie: c\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n",
    b"POST /local HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
]
_BAD_ANSWERS = list(BAD_ANSWERS.values())
_GOOD_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02ok",
]
#: What readers stumble over.
_PIECES = [
    *rb"\r\n|\n|\r|\r\n\r\n|\0| |\t|:|;|,|0|-1|0x|+|/|HTTP/1.1|HTTP/1.0|\xff".replace(rb"\r", b"\r")
    .replace(rb"\n", b"\n")
    .replace(rb"\t", b"\t")
    .replace(rb"\0", b"\0")
    .replace(rb"\xff", b"\xff")
    .split(b"|"),
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: i\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
]
_SIZES = [1, 2, 3, 5, 17, 100, 1000, 100_000]
_LINE = re.compile(rb"[!#-'*+\-.^_`|~0-9A-Za-z]+ (?:/[!-\"$-~\x80-\xff]*|\*) HTTP/1\.1")


@frozen
class Input:
    """
    :ivar request: what the caller sends.
    :ivar response: what the plugin sends over each connection, again and again.
    :ivar steps: what happens, a byte each; see `Fuzzer.step`.
    """

    request: bytes
    response: bytes
    steps: bytes


def make(chance: random.Random) -> Input:
    """An input like no other."""
    requests = [_one_of(chance, _GOOD, _BAD) for _ in range(chance.choice((1, 1, 2, 3, 40)))]
    response = _one_of(chance, _GOOD_ANSWERS, _BAD_ANSWERS)
    return Input(b"".join(requests), response, chance.randbytes(chance.randrange(4, 40)))


def _one_of(chance: random.Random, good: list[bytes], bad: list[bytes]) -> bytes:
    data = chance.choice(chance.choice((good, bad)))[:5000]
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        at, size = chance.randrange(len(data) + 1), chance.choice((0, 1, 1, 2, 8, 30))
        piece = chance.choice(
            (chance.choice(_PIECES), chance.randbytes(chance.randrange(3)), data[at : at + size] * 2)
        )
        data = data[:at] + piece + data[at + size :]
    return data


class _Local(Routes):
    """What the gateway responds to itself."""

    @route("POST", "/local")
    def echo(self, headers: Headers, body: bytes) -> Response:
        return Response(200, body)


class _Connector(FakeConnector):
    """One whose attempts end when they are given up, as real ones do."""

    def __call__(self, factory: Callable[[], ClientConnection]) -> Deferred[Any]:
        made: Deferred[Any] = Deferred(lambda _: self.attempts.remove(attempt))
        attempt = (factory, made)
        self.attempts.append(attempt)
        return made


@implementer(ILogObserver)
class Fuzzer:
    """A gateway without sockets, which lives through one input after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        context = Context(self.clock, lambda: 0.0)
        self.connector = _Connector()
        turn = Turn(lambda function: self.clock.callLater(0, function))
        self.pool = Pool(self.connector, 3, 4.0, 5.0, self.clock, turn)
        settings = GatewaySettings(max_header=2000, max_body=3000, max_connections=2)
        forwarder = Forwarder(
            self.pool, Route(b"", b"plugin", FORWARDED), 2000, context.metrics.gateway_retries.inc
        )
        self.front = make_front(settings, _Local(), forwarder, context, turn)
        self.failures: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Hear of what was logged (`ILogObserver`): a failure is one of the gateway."""
        if "log_failure" in event:
            self.failures.append(event)

    def run(self, given: Input) -> None:
        """:raises AssertionError: or anything else, when the gateway does not stand the input."""
        callers = [CallerEnd(ServerConnection(self.front)) for _ in range(3)]
        self.plugins: list[FakeTransport] = []
        positions: Counter[int] = Counter()  # in the bytes to be received, by whose they are
        for step in given.steps:
            self.step(step, given, callers[step % 3], positions)
            self.settle(callers)
        for plugin in self.plugins:
            check_requests(plugin.sent)
        self.finish(callers)
        assert not self.failures, self.failures
        left = (len(self.front.connections), self.pool.open, self.pool.waiting)
        assert left == (0, 0, 0), f"callers, connections, waiting requests left: {left}"

    def step(self, step: int, given: Input, caller: CallerEnd, positions: Counter[int]) -> None:
        size = _SIZES[step >> 5]
        plugin = self.plugins[step % len(self.plugins)] if self.plugins else None
        kind = step >> 1 & 15
        if kind < 6:
            receive(caller, given.request, size, positions)
        elif kind < 9 and self.connector.attempts:
            self.plugins.append(self.connector.accept())
        elif kind < 12 and plugin is not None:
            receive(plugin, given.response, size, positions)
        elif kind == 12:
            stall(caller if step & 32 or plugin is None else plugin)
        elif kind == 13 and plugin is not None and not plugin.ended:
            lose(plugin, ConnectionResetError() if step & 32 else None)
        elif kind == 14 and self.connector.attempts and step & 32:
            self.connector.refuse(ConnectError("refused"))
        elif kind == 14:
            half_close(caller)
        elif kind == 15:
            self.wait(size)

    def wait(self, seconds: float) -> None:
        self.clock.advance(min(seconds, 100))
        self.front.expire()

    def settle(self, callers: list[CallerEnd]) -> None:
        """As the loop does: tell of connections that have been closed, and do what was put off."""
        self.clock.advance(0)
        for end in (*callers, *self.plugins):
            if end.ended in ("closed", "aborted"):
                lose(end, None)

    def finish(self, callers: list[CallerEnd]) -> None:
        """All connections are gone, and nothing may be left."""
        for end in (*callers, *self.plugins):
            if not end.ended:
                lose(end, ConnectionResetError())
        self.settle(callers)
        while self.connector.attempts:
            self.connector.refuse(ConnectError("refused"))
        self.plugins = []
        self.wait(100)


def receive(end: Any, data: bytes, size: int, positions: Counter[int]) -> None:
    """Let the gateway read some more, where it reads."""
    at = positions[id(end)]
    if not end.ended and data and not getattr(end, "half_closed", False):
        for number in range(at, min(at + size, len(data))):
            if not end.reading or end.ended:
                break
            # Bytes one by one find what parts of any size would, but not how sizes are counted.
            part = data[at : at + size] if size > 20 else data[number : number + 1]
            positions[id(end)] += len(part)
            end.receive(part)
            if size > 20:
                break
        if isinstance(end, CallerEnd):
            return
        if positions[id(end)] >= len(data):
            positions[id(end)] = 0


def lose(end: FakeTransport, error: Exception | None) -> None:
    """The connection is gone, which its protocol hears once."""
    if error is None and not end.ended:
        end.protocol.eof_received()
    end.ended = "lost"
    end.protocol.connection_lost(error)


def half_close(caller: CallerEnd) -> None:
    """The caller sends no more; asyncio closes the connection, unless its protocol wants it open."""
    if not caller.ended and caller.reading and not caller.half_closed:
        caller.half_closed = True
        if not caller.protocol.eof_received():
            caller.close()


def stall(end: FakeTransport) -> None:
    """The far end does not read, or reads again."""
    if not end.ended:
        end.unsent = 0 if end.unsent else 100_000
        (end.protocol.pause_writing if end.unsent else end.protocol.resume_writing)()


def check_requests(data: bytes) -> None:
    """
    What a plugin got over one connection: well-formed requests, each with the mark of the gateway. A part of
    one that was taken for a request of its own would not have it.
    """
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            return  # broken off
        line, *headers = head.split(b"\r\n")
        assert _LINE.fullmatch(line), line
        assert headers.count(b"gateway-tag: forward") == 1, head
        values = [header.partition(b": ")[::2] for header in headers]
        lengths = [value for name, value in values if name.lower() == b"content-length"]
        codings = [value for name, value in values if name.lower() == b"transfer-encoding"]
        assert len(lengths) + len(codings) <= 1, head
        assert [name.lower() for name, _ in values].count(b"host") == 1, head
        if any(name.lower() == b"upgrade" for name, _ in values):
            return
        if codings:
            rest = _after_chunks(data)
            if rest is None:
                return
            data = rest
        elif lengths:
            data = data[int(lengths[0]) :]


def _after_chunks(data: bytes) -> bytes | None:
    """:returns: what is behind a chunked body; None where it has no end."""
    while data:
        size, end, data = data.partition(b"\r\n")
        assert not end or re.fullmatch(rb"[0-9a-f]+", size), size
        length = int(size, 16) if end else 0
        if not end or len(data) < length + 2:
            return None
        assert data[length : length + 2] == b"\r\n", data
        data = data[length + 2 :]
        if not length:
            return data
    return None


def fuzz(count: int, seed: int) -> Iterator[int]:
    """
    :returns: an iterator that runs an input a turn.
    :raises AssertionError: naming the input that broke something.
    """
    fuzzer = Fuzzer()
    globalLogPublisher.addObserver(fuzzer)
    try:
        for number in range(count):
            given = make(random.Random(seed * 1_000_000_007 + number))
            try:
                fuzzer.run(given)
            except Exception as error:
                raise AssertionError(f"input {number} of seed {seed}: {error!r}\n{given!r:.5000}") from error
            yield number
    finally:
        globalLogPublisher.removeObserver(fuzzer)


def left_over() -> dict[str, int]:
    """How many objects of the gateway's connections there are."""
    gc.collect()
    return dict(Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, OURS)))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    before, began = 0, time.monotonic()
    for number in fuzz(count, seed):
        if number == 1000:  # caches are filled
            left_over()
            before = len(gc.get_objects())
    grown = len(gc.get_objects()) - before if not left_over() else 0
    print(f"{count:,} inputs of seed {seed} in {time.monotonic() - began:.0f} s: no crash")
    print(f"objects left over: {left_over() or 'none'}; {grown} more of any kind than after the first 1,000")


if __name__ == "__main__":
    main()
