"""Writing over TLS to a server that may have had the last word already."""

from __future__ import annotations

import asyncio
import select
from typing import Any

#: Seconds after which it is looked again whether what has arrived has been read, and for how long at most.
PAUSE, LONGEST = 0.002, 0.1


class ReadFirst:
    """
    A TLS transport that lets what has arrived be read before it writes on.

    A server that does not want the rest of a request responds and closes. The next write fails, asyncio drops
    the connection, and with it what nobody has read. (Over TCP it can be fetched then: see
    `ClientConnection.connection_lost`. Over TLS nobody decrypts it any more.)

    :param transport: the rest of it is as this one has it.
    :param protocol: is asked to pause while something waits.
    """

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._arrived = select.poll()
        self._arrived.register(transport.get_extra_info("socket"), select.POLLIN)
        self._held: list[bytes] = []
        self._pauses = 0
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        # With the first bytes there is nothing to wait for: what has arrived is the end of the handshake.
        if self._held:
            self._held.append(data)
        elif self._begun and self._arrived.poll(0):
            self._held.append(data)
            self._protocol.pause_writing()
            self._look_again()
        else:
            self._begun = True
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._held))

    def close(self) -> None:
        self._write_held()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()

    def _look_again(self) -> None:
        self._pauses += 1
        asyncio.get_running_loop().call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self._transport.is_closing() or not self._held:
            self._held.clear()
        elif self._pauses * PAUSE < LONGEST and self._arrived.poll(0):
            self._look_again()
        else:
            self._write_held()
            self._protocol.resume_writing()

    def _write_held(self) -> None:
        self._pauses = 0
        held, self._held = b"".join(self._held), []
        if held:
            self._transport.write(held)
