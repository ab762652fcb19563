"""A caller's connection: bytes in and out, and its end. What the bytes mean, `scfd.http1.server` knows."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from scfd.http1.front import Front

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


#: Bytes of a response that may wait for a slow reader before the upstream server is asked to wait.
HIGH_WATER = 64 * 1024


class CallerConnection(asyncio.BufferedProtocol):
    """
    :param front: what all connections have in common.
    :ivar address: the caller's.
    :ivar deadline: when something has to have happened, by the front's clock: see `expire`.
    """

    def __init__(self, front: Front) -> None:
        self._front = front
        self._limits = front.limits
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        #: No further request is read.
        self._over = False
        self._closing: Closing | None = None
        self._writable = True
        self._unsent = 0
        self._made_at = front.clock.seconds()
        self.deadline = NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        front, peer = self._front, transport.get_extra_info("peername")
        self.address = peer[0].removeprefix("::ffff:") if peer else "unknown"
        secure = transport.get_extra_info("sslcontext") is not None
        self._identity = front.names.identity(self.address, secure)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self.deadline = self._made_at + self._limits.header_timeout

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._front.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._over:
            self._received_data(bytes(self._front.buffer[:nbytes]))
        elif self._closing is not None:
            self._closing.heard(self._front.clock.seconds())

    def _received_data(self, data: bytes) -> None:
        raise NotImplementedError

    def _steer(self) -> None:
        """Read from the socket, or do not."""
        raise NotImplementedError

    def _now_unsent(self) -> bool:
        """Note how much waits for a slow reader. :returns: whether it has become less."""
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        return self._unsent < before

    def _extend(self) -> None:
        self.deadline = self._front.clock.seconds() + self._limits.body_timeout

    def _close(self, reads_on: bool = False) -> None:
        """
        Close once everything has been sent.

        :param reads_on: whether the caller has not sent the whole of its request.
        """
        front, now = self._front, self._front.clock.seconds()
        front.turn.flush(self._transport)
        self._over = True
        self._closing = Closing(self._transport, reads_on, self._limits.body_timeout, now)
        self.deadline = now + LINGER
        self._steer()

    def _reset(self) -> None:
        self._over = True
        self.deadline = NEVER
        self._front.turn.forget(self._transport)
        reset(self._transport)

    def _sending(self) -> bool:
        """Whether something has not gone to the caller yet."""
        return self._front.turn.holds(self._transport) or unsent(self._transport) > 0

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._front.turn.forget(self._transport)
        self._transport.abort()
