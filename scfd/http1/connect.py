"""How a connection to an HTTP server is made: over TCP, or TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from scfd.http1.client import ClientConnection

#: Seconds that a connection may take to be made.
CONNECT_TIMEOUT = 5.0

#: What makes a connection: given a factory, a Deferred that fires once one is connected.
Connector = Callable[[Callable[[], ClientConnection]], "Deferred[Any]"]


def connector(url: str) -> Connector:
    """
    :param url: http or https; its host and port count.
    :returns: for a `scfd.http1.pool.Pool`: makes connections over TCP or TLS.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context: Any = None
    if parts.scheme == "https":
        import ssl  # 40 ms and 12 MiB that a server on the same machine saves

        context = ssl.create_default_context()

    async def connect(factory: Callable[[], ClientConnection]) -> Any:
        # Asked for in here: a service may call this while it starts, before the loop runs.
        return await asyncio.get_running_loop().create_connection(factory, host, port, ssl=context)

    return lambda factory: Deferred.fromFuture(asyncio.ensure_future(connect(factory)))
