"""Decodes chunked bodies, of requests and of responses."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Bytes of framing that a byte of a chunked body may cost: a chunk of one byte has five.
_WORST_FRAMING = 16
#: Parts of chunks that are read before others have their turn: 0.5 ms. A chunk has three.
_STEPS = 600
#: A size, and extensions, with the white space that RFC 9112 lets stand around a semicolon. What they say is
#: not looked at, so they may hold anything but control characters.
_SIZE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t -~\x80-\xff]*)?")
#: A size with white space behind it and nothing else, as some servers pad it. The grammar has none, so it is
#: accepted from a plugin only: its bodies go on in chunks of our own, which nobody can read in another way.
_PADDED = re.compile(rb"([0-9A-Fa-f]+)[ \t]*")
#: What has come of a line, with the CR at its end perhaps.
_SIZE_PART = re.compile(rb"[0-9A-Fa-f]*[ \t]*(?:;[\t -~\x80-\xff]*)?\r?")
_TRAILER_PART = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*(?::[\t -~\x80-\xff]*)?\r?")
_NO_LINE = re.compile(rb"\r?")
_LARGEST = (1 << 63) - 1
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~\x80-\xff]*")
#: Trailers that would have changed the body, had they been headers.
_FRAMING = (b"content-length", b"transfer-encoding")


class BadChunkError(Exception):
    """A body that is not well formed; the text says why."""


class Chunks:
    """
    Decodes a chunked body, and drops its trailers (RFC 9112, section 7.1).

    :param padded: accept white space behind a size.
    :ivar complete: whether the end has been reached.
    """

    def __init__(self, max_trailer: int, padded: bool = False) -> None:
        self.complete = False
        self._padded = padded
        self._left = 0  # bytes of the chunk that has begun
        self._read_line: Callable[[bytes], None] = self._read_size
        self._part_of_line = _SIZE_PART
        self._line = b""  # the part of a line that has arrived
        self._framing = -max_trailer

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """
        :returns: decoded bytes, and what has not been looked at: it is behind the body, or has to wait.
        :raises BadChunkError: when the chunks are not well formed.
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
            raise BadChunkError("bad chunk: more framing than body")
        return b"".join(parts), data[position:]

    def _keep(self, part: bytes) -> None:
        """The rest of a line is still to come."""
        if not self._part_of_line.fullmatch(part):
            raise BadChunkError("bad chunk")
        self._line = part

    def _read_size(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line) or (_PADDED.fullmatch(line) if self._padded else None)
        if size is None:
            raise BadChunkError("bad chunk: no size")
        self._left = int(size[1], 16)
        if self._left > _LARGEST:
            raise BadChunkError("bad chunk: its size is too large")
        if self._left:
            self._read_line, self._part_of_line = self._read_end, _NO_LINE
        else:
            self._read_line, self._part_of_line = self._read_trailer, _TRAILER_PART

    def _read_end(self, line: bytes) -> None:
        if line:
            raise BadChunkError("bad chunk: longer than its size")
        self._read_line, self._part_of_line = self._read_size, _SIZE_PART

    def _read_trailer(self, line: bytes) -> None:
        if not line:
            self.complete = True
            return
        trailer = _TRAILER.fullmatch(line)
        if trailer is None or trailer[1].lower() in _FRAMING:
            raise BadChunkError("bad trailer")
