"""The control plane's HTTP client, imported with its first request."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred

from scfd.deferreds import in_thread


class LazyClient:
    """A treq client with a connection pool of its own; treq is imported with the first request: 60 ms."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._client: Any = None

    def post(self, url: str, **options: Any) -> Deferred[Any]:
        """As `treq.client.HTTPClient.post`."""
        return Deferred.fromCoroutine(self._post(url, options))

    async def _post(self, url: str, options: dict[str, Any]) -> Any:
        if self._client is None:
            # In a thread: the reactor would stand still meanwhile.
            module = await in_thread(self._reactor, import_module, "scfd.control_plane.agent")
            self._client = self._client or module.http_client(self._reactor)
        return await self._client.post(url, **options)
