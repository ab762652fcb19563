"""From the bytes of a connection to responses: heads by llhttp, chunked bodies by our own decoder."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.http1.chunks import BadChunkError, Chunks
from scfd.http1.contract import BadResponseError, Exchange, ResponseHead

_log = Logger(namespace="scfd.http1")

#: Bytes of status line and headers, all responses before the final one included.
LONGEST_HEAD = 128 * 1024
SWITCHING_PROTOCOLS = 101


class ResponseReader:
    """
    Reads one response after the other, each for an exchange.

    :ivar exchange: hears of the response; None once nobody wants it any more.
    :ivar bodiless: that the response has no body whatever its headers say.
    :ivar upgradable: that it may be 101.
    :ivar head_seen: the final head has come.
    :ivar complete: the response is whole.
    :ivar excess: more than the response has come.
    :ivar tunnel: it was a 101; what follows is no HTTP.
    :ivar to_the_end: the body ends with the connection.
    :ivar keep_alive: the server serves a further request on the connection.
    :ivar waiting: bytes that have to wait until others had their turn.
    """

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._chunks: Chunks | None = None
        self.bodiless = False
        self.begin(None)

    def begin(self, exchange: Exchange | None) -> None:
        """Forget the response before."""
        if self.bodiless or self._chunks is not None:
            # llhttp waits for a body that does not come, or not its way.
            self._parser = HttpResponseParser(self)
        self.exchange = exchange
        self.bodiless = self.upgradable = False
        self.head_seen = self.complete = self.excess = False
        self.tunnel = self.to_the_end = self.keep_alive = False
        self.waiting = b""
        self._chunks = None
        self._head_bytes = 0
        self._line_end = b""
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def end(self) -> Exchange | None:
        """:returns: the exchange, which hears nothing more."""
        exchange, self.exchange = self.exchange, None
        return exchange

    def feed(self, data: bytes) -> None:
        """
        Read on. What has to wait for others is kept in ``waiting``, and then nothing is fed but that.

        :raises BadResponseError: when it is no response that can be passed on.
        """
        while data and not self.head_seen and self.exchange is not None:
            data = self._parse_head(data)
        if not data or self.exchange is None:
            return
        if self.tunnel:
            self.exchange.on_data(data)
        elif self.complete:
            self.excess = True
        elif self._chunks is not None:
            self._decode(self._chunks, data, self.exchange)
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
        if not self.head_seen and self._head_bytes > LONGEST_HEAD:
            raise BadResponseError(f"the response's head is longer than {LONGEST_HEAD >> 10} KiB")
        return rest

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass
        except HttpParserError as error:
            if not self.complete:  # else it is in what came behind the response
                raise BadResponseError(f"the response is not HTTP/1.1: {_cause(error)}") from None

    def _decode(self, chunks: Chunks, data: bytes, exchange: Exchange) -> None:
        try:
            body, rest = chunks.decode(data)
        except BadChunkError as error:
            raise BadResponseError(f"the response is not HTTP/1.1: {error}") from None
        if body:
            exchange.on_data(body)
        if chunks.complete:
            self.complete, self.excess = True, bool(rest)
        else:
            self.waiting = rest

    # llhttp's side: these are called from within `feed_data`.

    def on_message_begin(self) -> None:
        self.excess = self.complete

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_seen:  # else of what came behind the response
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None or self.complete:
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
            if not (self.upgradable and self._parser.should_upgrade()):
                raise _UnwantedError("a 101 that nobody has asked for")
            self.tunnel = True
        elif not self.bodiless:
            framing = _framing(head)
            self.to_the_end = framing == b""
            self._chunks = Chunks(LONGEST_HEAD, padded=True) if framing == b"chunked" else None
        self.head_seen = True
        self.keep_alive = self._parser.should_keep_alive() and not self.to_the_end
        exchange.on_head(head)
        self.complete = self.bodiless and not self.tunnel

    def on_body(self, data: bytes) -> None:
        if self._chunks is not None:
            raise _UnwantedError("a line of its head does not end with CR LF")
        if self.complete:
            self.excess = True
        elif self.exchange is not None:
            self.exchange.on_data(data)

    def on_message_complete(self) -> None:
        if self.head_seen and not self.tunnel:
            self.complete = True


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
