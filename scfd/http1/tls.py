"""What a TLS server has sent when writing to it failed."""

from __future__ import annotations

import asyncio
import os
from typing import Any


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
