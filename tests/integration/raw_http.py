"""
HTTP/1.1 messages over blocking sockets, as bytes: no library comes between a test and the wire.

It reads strictly, and on purpose shares nothing with what the gateway reads with.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress

from attrs import frozen

#: Seconds: longer than any response here takes on a busy machine.
PATIENCE = 15.0
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}(;[^\r\n]*)?")


@frozen
class Message:
    """
    A request or a response.

    :ivar line: the first line, without its end.
    :ivar headers: names and values without the white space around them, in their order.
    :ivar body: without the framing of chunks.
    :ivar chunked: whether it came in chunks.
    """

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunked: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, its name in lower case."""
        return [value for other, value in self.headers if other.lower() == name]

    @property
    def status(self) -> int:
        return int(self.line.split(b" ", 2)[1])


class Stream:
    """One end of a connection. Its methods raise `EOFError` where the far end closes or resets too early."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._buffer = b""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        # Whether it got a response before, reading tells.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def rest(self) -> bytes:
        """All until the far end closes."""
        while self._more():
            pass
        return self._take(len(self._buffer))

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise EOFError(f"{len(self._buffer)} bytes in place of {count}")
        return self._take(count)

    def until(self, end: bytes) -> bytes:
        """All up to and without some bytes."""
        start = 0
        while (found := self._buffer.find(end, start)) < 0:
            start = max(0, len(self._buffer) - len(end))
            if not self._more():
                raise EOFError(f"the end after {self._buffer[-200:]!r}")
        data = self._take(found + len(end))
        return data[: -len(end)]

    def head(self) -> Message:
        """:raises ValueError: when a line is no header."""
        line, *lines = self.until(b"\r\n\r\n").split(b"\r\n")
        headers = []
        for each in lines:
            header = _HEADER.fullmatch(each)
            if header is None or b"\n" in each or b"\r" in each or b"\0" in each:
                raise ValueError(f"no header: {each!r}")
            headers.append((header[1], header[2]))
        return Message(line, headers)

    def body(self, head: Message, to_the_end: bool = False) -> Message:
        """
        :param to_the_end: that a body without length ends with the connection.
        :returns: the whole message.
        :raises ValueError: when its framing is not right.
        """
        codings, lengths = head.values(b"transfer-encoding"), head.values(b"content-length")
        if codings:
            if codings != [b"chunked"] or lengths:
                raise ValueError(f"ambiguous: {head.headers}")
            return Message(head.line, head.headers, self._chunks(), True)
        if lengths:
            (length,) = lengths
            return Message(head.line, head.headers, self.exactly(int(length)))
        return Message(head.line, head.headers, self.rest()) if to_the_end else head

    def response(self, bodiless: bool = False) -> Message:
        """
        The next final response.

        :param bodiless: that it is one to a HEAD.
        """
        head = self.head()
        while head.status < 200:
            head = self.head()
        if bodiless or head.status in (204, 304):
            return head
        return self.body(head, to_the_end=True)

    def _chunks(self) -> bytes:
        body = b""
        while True:
            line = self.until(b"\r\n")
            if not _CHUNK_SIZE.fullmatch(line):
                raise ValueError(f"no size of a chunk: {line!r}")
            size = int(line.partition(b";")[0], 16)
            body += self.exactly(size)
            if self.until(b"\r\n"):
                raise ValueError("a chunk or a body has no end, or there are trailers")
            if not size:
                return body

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data


def chunked(*parts: bytes) -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
