"""How a caller's connection ends: its last response whole, or visibly broken."""

from __future__ import annotations

import asyncio
import socket
import struct

#: Seconds without a byte after which the rest of a request that nobody serves is read no more. Closed at
#: once, its caller might not get to see the response.
LINGER = 2.0
#: Seconds for which the rest of such a request is read at most.
LONGEST_LINGER = 30.0
NEVER = float("inf")
_RESET = struct.pack("ii", 1, 0)


def unsent(transport: asyncio.Transport) -> int:
    """
    :returns: bytes that have been written and not taken by the system.

    With TLS, Python from 3.11 on counts only those that are not encrypted yet; the others are known to the
    transport below, which has no public name.
    """
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    size = transport.get_write_buffer_size()
    return size if below is None else size + int(below.get_write_buffer_size())


def reset(transport: asyncio.Transport) -> None:
    """
    Close at once, so that the caller sees a broken connection.

    A response without a length ends with its connection: any other end would look like that of the whole.
    """
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Closing:
    """
    A connection that has nothing more to send, and closes once it has been sent.

    :param reads_on: whether the caller is still sending. The system resets a connection with bytes that
        nobody has read, and the response with it.
    :param patience: seconds in which a slow reader has to take something.
    """

    def __init__(self, transport: asyncio.Transport, reads_on: bool, patience: float, now: float) -> None:
        self._transport = transport
        self._patience = patience
        self._moved_at = self._heard_at = now
        if not reads_on:
            transport.close()
        elif transport.can_write_eof():
            transport.write_eof()
        self._unsent = unsent(transport)

    def heard(self, now: float) -> None:
        """The caller has sent something more."""
        self._heard_at = now

    def look(self, now: float) -> float:
        """:returns: when to look again, after `LINGER` first; `NEVER` when the connection has ended."""
        left = unsent(self._transport)
        if left < self._unsent:
            self._unsent, self._moved_at = left, now
        if left and now - self._moved_at >= self._patience:
            reset(self._transport)
        elif left or (now - self._heard_at < LINGER and now - self._moved_at < LONGEST_LINGER):
            return now + min(LINGER, self._patience)
        else:
            self._transport.abort()
        return NEVER
