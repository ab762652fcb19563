"""A connection to an HTTP/1.1 server: one request after the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from scfd.http1.activity import Activity
from scfd.http1.contract import BadResponseError, DisconnectedError, Exchange, UpstreamError
from scfd.http1.response import ResponseReader
from scfd.http1.turn import Turn


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
        self._response = ResponseReader()
        self._served = 0
        self._unserved = False
        self._unread: Unread | None = None  # of a connection over TLS
        self.reused = False
        self._sent = self._responded = False
        self._reading = True

    # The owner's side.

    def assign(self, exchange: Exchange) -> None:
        """
        Give the connection to a request.

        :param exchange: it hears of the connection at once.
        """
        self._response.begin(exchange)
        self._sent = self._responded = False
        self._reading = True
        self.reused = self._served > 0
        self._served += 1
        if not self.reused:
            self._unserved = True
            self._activity.began(self)
        exchange.on_connection(self)

    def send(self, head: bytes, bodiless: bool = False, upgradable: bool = False) -> None:
        """Send the head of the request: see `Upstream`."""
        self._response.bodiless = bodiless
        self._response.upgradable = upgradable
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
        if not self._response.waiting:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Give the request up, and the connection with it. The request hears no more of it."""
        self._response.end()
        self._abort()

    def _abort(self) -> None:
        self._activity.gone(self)
        self._turn.forget(self._transport)
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection, or a tunnel, once everything has been sent."""
        self._activity.gone(self)
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
        if self._response.exchange is not None:
            self._response.exchange.on_writable(False)

    def resume_writing(self) -> None:
        if self._response.exchange is not None:
            self._response.exchange.on_writable(True)

    def data_received(self, data: bytes) -> None:
        self._activity.received += 1
        if self._unserved:
            self._unserved = False
            self._activity.served(self)
        if self._response.exchange is None:
            # Nobody has asked: whatever it is, it must not become the response to the next request.
            self._abort()
            return
        self._responded = True
        self._take(data)

    def _take(self, data: bytes) -> None:
        response = self._response
        if response.waiting:
            response.waiting += data
            return
        try:
            response.feed(data)
        except BadResponseError as error:
            self._fail(error)
        if response.exchange is None:
            return
        if response.complete:
            self._finish()
            return
        response.exchange.on_read()
        if response.waiting:
            self._transport.pause_reading()
            self._turn.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read what had to wait for others."""
        data, self._response.waiting = self._response.waiting, b""
        if data and self._response.exchange is not None:
            self._take(data)
            if self._reading and not (self._response.waiting or self._transport.is_closing()):
                self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The end of a tunnel. What else it ends, `connection_lost` knows. Nothing stays half open."""
        if self._response.tunnel and (exchange := self._response.end()) is not None:
            exchange.on_end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        sent = not self._turn.holds(self._transport)
        while self._response.waiting and self._response.exchange is not None:
            self._go_on()
        if exc is not None:
            self._read_the_rest()
        if self._response.exchange is not None:
            if self._response.to_the_end and self._response.head_seen and exc is None:
                self._finish()
            else:
                where = "in the middle of" if self._responded else "without"
                how = f"the connection was closed {where} a response" + (f": {exc}" if exc else "")
                self._fail(DisconnectedError(how, self._responded, sent))
        self._activity.gone(self)
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
            while self._response.exchange is not None and (data := read()):
                self.data_received(data)

    # Ends.

    def _finish(self) -> None:
        """The response is whole. Whether the connection serves another request depends on both sides."""
        exchange = self._response.end()
        reusable = (
            self._sent
            and self._response.keep_alive
            and not self._response.excess
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )
        if reusable:
            self._transport.resume_reading()
            self._free(self)
        else:
            # At once: whoever does not read the rest of a request would keep it open.
            self._abort()
        if exchange is not None:
            exchange.on_end()

    def _fail(self, error: UpstreamError) -> None:
        exchange = self._response.end()
        self._abort()
        if exchange is not None:
            exchange.on_failure(error)


class Unread:
    """
    The bytes of a TLS connection that have arrived and that nobody has read.

    A server that does not want the rest of a request responds and closes. The next write fails, and asyncio
    drops the connection, with what is still in the system's buffer and nobody else could decrypt.

    :param transport: of a connection over TLS.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._tls = transport.get_extra_info("ssl_object")
        # Neither has a public name; `_sslpipe` is Python 3.10's. Without them such a response is lost.
        protocol: Any = getattr(transport, "_ssl_protocol", None)
        self._incoming = getattr(getattr(protocol, "_sslpipe", protocol), "_incoming", None)
        # Its own descriptor, since asyncio closes the other one before it says that the connection is lost.
        self._socket = os.dup(transport.get_extra_info("socket").fileno())

    def read(self) -> bytes:
        """:returns: empty at the end."""
        while self._incoming is not None:
            try:
                return bytes(self._tls.read(1 << 16))
            except OSError:  # the TLS library wants more; or has had enough
                if not (data := self._receive()):
                    break
                self._incoming.write(data)
        return b""

    def _receive(self) -> bytes:
        try:
            return os.read(self._socket, 1 << 16)
        except OSError:
            return b""

    def close(self) -> None:
        os.close(self._socket)
