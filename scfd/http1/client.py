"""A connection to an HTTP/1.1 server: one request after the other, each response parsed by llhttp."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.http1.activity import Activity
from scfd.http1.chunks import BadChunkError, Chunks
from scfd.http1.contract import BadResponseError, DisconnectedError, Exchange, ResponseHead, UpstreamError
from scfd.http1.tls import Unread
from scfd.http1.turn import Turn

_log = Logger(namespace="scfd.http1")

#: Bytes of status line and headers, all responses before the final one included.
LONGEST_HEAD = 128 * 1024
SWITCHING_PROTOCOLS = 101


class ClientConnection(asyncio.Protocol):
    """
    The `scfd.http1.contract.Upstream` of one request after the other.

    :param free: called when the response is complete and another request may follow.
    :param lost: called once, when the connection is gone.
    :param turn: what is sent goes through it.
    :param activity: is told what arrives.
    :ivar reused: whether the request under way is not its first one: the server may have closed an
        idle connection at the moment in which the request was sent.
    """

    def __init__(
        self,
        free: Callable[[ClientConnection], object],
        lost: Callable[[ClientConnection], object],
        turn: Turn,
        activity: Activity,
    ) -> None:
        self._free = free
        self._lost = lost
        self._turn = turn
        self._activity = activity
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._served = 0
        self._unserved = False
        self._unread: Unread | None = None  # of a connection over TLS
        self.reused = False
        self._begin()

    def _begin(self) -> None:
        """Forget the request before."""
        self._bodiless = self._upgradable = False
        self._sent = self._responded = self._complete = self._excess = False
        self._tunnel = self._head_seen = self._to_the_end = False
        self._keep_alive = False
        self._head_bytes = 0
        self._line_end = b""
        self._reading = True
        self._chunks: Chunks | None = None
        self._undecoded = b""
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []

    # The owner's side.

    def assign(self, exchange: Exchange) -> None:
        """
        Give the connection to a request.

        :param exchange: it hears of the connection at once.
        """
        self._begin()
        self.reused = self._served > 0
        self._served += 1
        self._exchange = exchange
        if not self.reused:
            self._unserved = True
            self._activity.began(self)
        exchange.on_connection(self)

    def send(self, head: bytes, bodiless: bool = False, upgradable: bool = False) -> None:
        """Send the head of the request: see `Upstream`."""
        self._bodiless = bodiless
        self._upgradable = upgradable
        self._turn.write(self._transport, head)

    def write(self, data: bytes) -> None:
        """Send more of the body, framed as it goes over the wire."""
        self._turn.write(self._transport, data)

    def end(self) -> None:
        """Say that the request has been sent whole."""
        self._sent = True

    def pause_reading(self) -> None:
        self._reading = False
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading = True
        if not self._undecoded:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Give the request up, and the connection with it. The request hears no more of it."""
        self._exchange = None
        self._abort()

    def _no_longer_unserved(self) -> None:
        self._unserved = False
        self._activity.served(self)

    def _abort(self) -> None:
        if self._unserved:
            self._no_longer_unserved()
        self._turn.forget(self._transport)
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection, or a tunnel, once everything has been sent."""
        self._turn.flush(self._transport)
        self._transport.close()

    @property
    def served(self) -> bool:
        """Whether it has had a request."""
        return self._served > 0

    @property
    def closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("sslcontext") is not None:
            self._unread = Unread(transport)

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.on_writable(False)

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.on_writable(True)

    def data_received(self, data: bytes) -> None:
        self._activity.received += 1
        if self._unserved:
            self._no_longer_unserved()
        if self._exchange is None:
            # Nobody has asked: whatever it is, it must not become the response to the next request.
            self._abort()
            return
        self._responded = True
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._undecoded:
            self._undecoded += data
            return
        self._parse(data)
        if self._exchange is None:
            return
        if self._complete:
            self._finish()
            return
        self._exchange.on_read()
        if self._undecoded:
            self._transport.pause_reading()
            self._turn.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read what had to wait for others."""
        data, self._undecoded = self._undecoded, b""
        if data and self._exchange is not None:
            self._take(data)
            if self._reading and not (self._undecoded or self._transport.is_closing()):
                self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        while data and not self._head_seen and self._exchange is not None:
            data = self._parse_head(data)
        if not data or self._exchange is None:
            return
        if self._tunnel:
            self._exchange.on_data(data)
        elif self._complete:
            self._excess = True
        elif self._chunks is not None:
            self._decode(self._chunks, data, self._exchange)
        else:
            self._feed(data)

    def _parse_head(self, data: bytes) -> bytes:
        """
        Parse at most to the end of the head: a chunked body behind it is not llhttp's business.

        :returns: what is behind it.
        """
        before = len(self._line_end)
        end = (self._line_end + data).find(b"\r\n\r\n")
        end = len(data) if end < 0 else end + 4 - before
        head, rest = data[:end], data[end:]
        self._line_end = b"" if rest else (self._line_end + head)[-3:]
        self._head_bytes += end
        self._feed(head)
        if not self._head_seen and self._head_bytes > LONGEST_HEAD:
            self._fail(BadResponseError(f"the response's head is longer than {LONGEST_HEAD >> 10} KiB"))
        return rest

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            if not self._complete:  # else it is in what came behind the response
                self._fail(BadResponseError(f"the response is not HTTP/1.1: {_cause(error)}"))

    def _decode(self, chunks: Chunks, data: bytes, exchange: Exchange) -> None:
        try:
            body, rest = chunks.decode(data)
        except BadChunkError as error:
            self._fail(BadResponseError(f"the response is not HTTP/1.1: {error}"))
            return
        if body:
            exchange.on_data(body)
        if chunks.complete:
            self._complete, self._excess = True, bool(rest)
        else:
            self._undecoded = rest

    def eof_received(self) -> bool:
        """The end of a tunnel. What else it ends, `connection_lost` knows. Nothing stays half open."""
        if self._tunnel and self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.on_end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        sent = not self._turn.holds(self._transport)
        while self._undecoded and self._exchange is not None:
            self._go_on()
        if exc is not None:
            self._read_the_rest()
        if self._exchange is not None:
            if self._to_the_end and self._head_seen and exc is None:
                self._finish()
            else:
                where = "in the middle of" if self._responded else "without"
                how = f"the connection was closed {where} a response" + (f": {exc}" if exc else "")
                self._fail(DisconnectedError(how, self._responded, sent))
        elif self._unserved:
            self._no_longer_unserved()
        if self._unread is not None:
            self._unread.close()
        self._lost(self)

    def _read_the_rest(self) -> None:
        """
        Read the response of a server that has closed the connection without reading the whole request.

        Writing on has failed before the response was read. It is still in the system's buffer.
        """
        if self._unread is not None:
            read = self._unread.read
        elif (socket := self._transport.get_extra_info("socket")) is not None:
            read = partial(os.read, socket.fileno(), 1 << 16)
        else:
            return
        with suppress(OSError):
            while self._exchange is not None and (data := read()):
                self.data_received(data)

    # llhttp's side: these are called from within `feed_data`.

    def on_message_begin(self) -> None:
        self._excess = self._complete

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_seen:  # else of what came behind the response
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or self._complete:
            return
        status = self._parser.get_status_code()
        if status < 100:
            raise _UnwantedError(f"its status is {status:03}")
        head = ResponseHead(self._parser.get_http_version(), status, self._reason, self._headers)
        self._reason, self._headers = b"", []
        if 100 <= status < 200 and status != SWITCHING_PROTOCOLS:
            exchange.on_informational(head)
            return
        if status == SWITCHING_PROTOCOLS:
            if not (self._upgradable and self._parser.should_upgrade()):
                raise _UnwantedError("a 101 that nobody has asked for")
            self._tunnel = True
        elif not self._bodiless:
            framing = _framing(head)
            self._to_the_end = framing == b""
            self._chunks = Chunks(LONGEST_HEAD) if framing == b"chunked" else None
        self._head_seen = True
        self._keep_alive = self._parser.should_keep_alive() and not self._to_the_end
        exchange.on_head(head)
        self._complete = self._bodiless and not self._tunnel

    def on_body(self, data: bytes) -> None:
        if self._chunks is not None:
            raise _UnwantedError("a line of its head does not end with CR LF")
        if self._complete:
            self._excess = True
        elif self._exchange is not None:
            self._exchange.on_data(data)

    def on_message_complete(self) -> None:
        if self._head_seen and not self._tunnel:
            self._complete = True

    # Ends.

    def _finish(self) -> None:
        """The response is whole. Whether the connection serves another request depends on both sides."""
        exchange, self._exchange = self._exchange, None
        reusable = (
            self._sent
            and self._keep_alive
            and not self._excess
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )
        if reusable:
            self._transport.resume_reading()
            if self._bodiless or self._chunks is not None:
                # llhttp waits for a body that does not come, or not its way.
                self._parser = HttpResponseParser(self)
            self._free(self)
        else:
            # At once: whoever does not read the rest of a request would keep it open.
            self._abort()
        if exchange is not None:
            exchange.on_end()

    def _fail(self, error: UpstreamError) -> None:
        exchange, self._exchange = self._exchange, None
        self._abort()
        if exchange is not None:
            exchange.on_failure(error)


class _UnwantedError(Exception):
    """A response that is well formed and all the same can't be passed on."""


def _cause(error: HttpParserError) -> str:
    cause = error.__context__  # what a callback raised
    if cause is None:
        return str(error)
    if not isinstance(cause, _UnwantedError):
        _log.failure("a response could not be handled", Failure(cause))
    return str(cause)


def _framing(head: ResponseHead) -> bytes:
    """
    What says where the body ends (RFC 9112, section 6.3): ``length``, ``chunked``, or nothing but the end of
    the connection.

    :raises _UnwantedError: when it is encoded in another way than chunked, which is not ours to undo.
    """
    if head.status in (204, 304):
        return b"length"
    for name, value in head.headers:
        # By length first: this runs for every header of every response.
        if len(name) == 14 and name.lower() == b"content-length":
            return b"length"
        if len(name) == 17 and name.lower() == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise _UnwantedError("its transfer coding is not chunked")
            return b"chunked"
    return b""
