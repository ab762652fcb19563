"""From the bytes of a connection to requests, one at a time: what comes behind one is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpRequestParser

from scfd.http1.contract import RefusedError, Request
from scfd.http1.request import read_head

_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
#: Bytes of framing that a byte of a chunked body may cost: a chunk of one byte has five.
_WORST_FRAMING = 16
#: Empty lines in chunks that are looked at before others have their turn: a body may consist of them.
_SLICES = 200
_CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


class RequestReader:
    """
    :param on_request: called with each request once its head is complete.
    :param on_body: called with parts of its body, without the framing of chunks.
    :param on_end: called at the end of a body; not for requests that have none.
    :param max_header: bytes of request line and headers.
    """

    def __init__(
        self,
        on_request: Callable[[Request], object],
        on_body: Callable[[bytes], object],
        on_end: Callable[[], object],
        max_header: int,
    ) -> None:
        self._on_request = on_request
        self._on_body = on_body
        self._on_end = on_end
        self._max_header = max_header
        self._head = b""
        self._remaining = 0
        self._chunks: _Chunks | None = None

    @property
    def in_head(self) -> bool:
        """Whether a part of a head has arrived."""
        return bool(self._head)

    def feed(self, data: bytes) -> bytes:
        """
        Take bytes, at most up to the end of the request that is being read, or of the next one.

        :returns: those that have not been taken.
        :raises RefusedError: when they are not to be taken for a request; nothing can be read after that.
        """
        if self._chunks is not None:
            return self._read_chunks(self._chunks, data)
        if self._remaining:
            return self._read_sized(data)
        return self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        head, start = self._head + data, len(self._head)
        if head.startswith(b"\r\n"):
            # Empty lines in front of a request are left out (RFC 9112, section 2.2).
            head, start = head[_EMPTY_LINES.match(head).end() :], 0  # type: ignore[union-attr]  # may be none
        # The end may be split between two reads.
        end = head.find(_END, max(0, start - 3))
        if end < 0:
            self._head = head
            self._check_part(head)
            return b""
        end += len(_END)
        if end > self._max_header:
            self._refuse_length(head)
        self._head = b""
        request = read_head(head[:end])
        rest = head[end:]
        if request.length is None:
            self._chunks = _Chunks(self._max_header)
        else:
            self._remaining = request.length
        self._on_request(request)
        return self.feed(rest) if rest and request.length != 0 else rest

    def _check_part(self, head: bytes) -> None:
        if len(head) > self._max_header:
            self._refuse_length(head)
        # Lines that end otherwise would never come to an end.
        if head.count(b"\n") != head.count(b"\r\n"):
            raise RefusedError(400, "a line does not end with CR LF")

    def _refuse_length(self, head: bytes) -> None:
        if b"\r\n" not in head[: self._max_header]:
            raise RefusedError(414, "the request target is too long")
        raise RefusedError(431, "the headers are too long")

    def _read_sized(self, data: bytes) -> bytes:
        body, rest = data, b""
        if len(data) > self._remaining:
            body, rest = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(body)
        self._on_body(body)
        if not self._remaining:
            self._on_end()
        return rest

    def _read_chunks(self, chunks: _Chunks, data: bytes) -> bytes:
        body, rest = chunks.decode(data)
        if body:
            self._on_body(body)
        if chunks.complete:
            self._chunks = None
            self._on_end()
        return rest


class _Chunks:
    """
    Decodes a chunked body with llhttp, and drops its trailers.

    :ivar complete: whether the end has been reached.
    """

    def __init__(self, max_trailer: int) -> None:
        self.complete = False
        self._parts: list[bytes] = []
        self._tail = b""
        self._framing = -max_trailer
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(_CHUNKED)

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """
        :returns: decoded bytes, and what has not been looked at: it is behind the body, or has to wait.
        :raises RefusedError: when the chunks are not well formed.
        """
        # A body ends with an empty line: fed up to each one in turn, llhttp never gets to see what is
        # behind the body. The first one may be split between two reads.
        position, seen = 0, self._tail + data
        offset = len(self._tail)
        try:
            for _ in range(_SLICES):
                if position == len(data) or self.complete:
                    break
                end = seen.find(_END, max(0, position + offset - 3))
                stop = len(data) if end < 0 else end + len(_END) - offset
                self._parser.feed_data(data[position:stop])
                position = stop
        except HttpParserError as error:
            raise RefusedError(400, f"bad chunk: {error}") from None
        self._tail = seen[: position + offset][-3:]
        body = b"".join(self._parts)
        self._parts.clear()
        self._framing += position - (_WORST_FRAMING + 1) * len(body)
        if self._framing > 0:
            raise RefusedError(400, "more framing of chunks than body")
        return body, data[position:]

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self.complete = True
