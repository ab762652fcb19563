"""From the bytes of a connection to requests, one at a time: what comes behind one is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from scfd.http1.chunks import BadChunkError, Chunks
from scfd.http1.contract import RefusedError, Request
from scfd.http1.request import read_head

_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


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
        self._chunks: Chunks | None = None

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
            self._chunks = Chunks(self._max_header)
        else:
            self._remaining = request.length
        self._on_request(request)
        return self.feed(rest) if rest and request.length != 0 else rest

    def _check_part(self, head: bytes) -> None:
        if len(head) > self._max_header:
            self._refuse_length(head)
        # Lines that end otherwise would never come to an end. An LF may follow a CR that is the last byte.
        ends = head.count(b"\r\n")
        if head.count(b"\n") != ends or head.count(b"\r") - head.endswith(b"\r") != ends:
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

    def _read_chunks(self, chunks: Chunks, data: bytes) -> bytes:
        try:
            body, rest = chunks.decode(data)
        except BadChunkError as error:
            raise RefusedError(400, str(error)) from None
        if body:
            self._on_body(body)
        if chunks.complete:
            self._chunks = None
            self._on_end()
        return rest
