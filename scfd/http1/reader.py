"""From the bytes of a connection to requests, one at a time: what comes behind one is left alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from scfd.http1.contract import RefusedError, Request
from scfd.http1.request import read_head

_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
#: Bytes of framing that a byte of a chunked body may cost: a chunk of one byte has five.
_WORST_FRAMING = 16
#: Parts of chunks that are read before others have their turn: 0.5 ms. A chunk has three.
_STEPS = 600
#: A size, and extensions, with the white space that RFC 9112 lets stand around a semicolon. What they say is
#: not looked at, so they may hold anything but control characters.
_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t -~\x80-\xff]*)?")
#: What has come of a line, with the CR at its end perhaps.
_SIZE_PART = re.compile(rb"[0-9A-Fa-f]*[ \t]*(?:;[\t -~\x80-\xff]*)?\r?")
_TRAILER_PART = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*(?::[\t -~\x80-\xff]*)?\r?")
_NO_LINE = re.compile(rb"\r?")
_LARGEST = (1 << 63) - 1
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~\x80-\xff]*")
#: Trailers that would have changed the body, had they been headers.
_FRAMING = (b"content-length", b"transfer-encoding")


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
    Decodes a chunked body, and drops its trailers (RFC 9112, section 7.1).

    :ivar complete: whether the end has been reached.
    """

    def __init__(self, max_trailer: int) -> None:
        self.complete = False
        self._left = 0  # bytes of the chunk that has begun
        self._read_line: Callable[[bytes], None] = self._read_size
        self._part_of_line = _SIZE_PART
        self._line = b""  # the part of a line that has arrived
        self._framing = -max_trailer

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """
        :returns: decoded bytes, and what has not been looked at: it is behind the body, or has to wait.
        :raises RefusedError: when the chunks are not well formed.
        """
        data, before = self._line + data, len(self._line)
        self._line = b""
        parts: list[bytes] = []
        position = length = 0
        for _ in range(_STEPS):
            if self.complete or position == len(data):
                break
            if self._left:
                part = data[position : position + self._left]
                parts.append(part)
                length += len(part)
                self._left -= len(part)
                position += len(part)
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep(data[position:])
                position = len(data)
            else:
                self._read_line(data[position:end])
                position = end + 2
        self._framing += position - before - (_WORST_FRAMING + 1) * length
        if self._framing > 0:
            raise RefusedError(400, "bad chunk: more framing than body")
        return b"".join(parts), data[position:]

    def _keep(self, part: bytes) -> None:
        """The rest of a line is still to come."""
        if not self._part_of_line.fullmatch(part):
            raise RefusedError(400, "bad chunk")
        self._line = part

    def _read_size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise RefusedError(400, "bad chunk: no size")
        self._left = int(size[1], 16)
        if self._left > _LARGEST:
            raise RefusedError(400, "bad chunk: its size is too large")
        if self._left:
            self._read_line, self._part_of_line = self._read_end, _NO_LINE
        else:
            self._read_line, self._part_of_line = self._read_trailer, _TRAILER_PART

    def _read_end(self, line: bytes) -> None:
        if line:
            raise RefusedError(400, "bad chunk: longer than its size")
        self._read_line, self._part_of_line = self._read_size, _SIZE_PART

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        trailer = _TRAILER.fullmatch(line)
        if trailer is None or trailer[1].lower() in _FRAMING:
            raise RefusedError(400, "bad trailer")
