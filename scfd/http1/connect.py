"""Makes connections, over TCP or TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from scfd.deferreds import from_asyncio
from scfd.http1.connection import Connection
from scfd.http1.pool import Connector


def connector(url: str) -> Connector:
    """
    :param url: http or https; its host and port count.
    :returns: for a `Pool`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context: Any = None
    if parts.scheme == "https":
        import ssl  # 40 ms and 12 MiB that a plugin on the same machine saves

        context = ssl.create_default_context()

    async def connect(factory: Callable[[], Connection]) -> Any:
        # Asked for in here: a service may call this while it starts, before the loop runs.
        return await asyncio.get_running_loop().create_connection(factory, host, port, ssl=context)

    return lambda factory: from_asyncio(connect(factory))
