"""What the plugin asks of JetStream beside its trigger: to store something, and what was before a message."""

from __future__ import annotations

import json
from typing import Any

import nats
from nats.aio.client import Client

KLine = dict[str, Any]


class JetStream:
    """
    :param url: of a NATS server; `connect` waits for it, and nats-py keeps the connection up.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()

    async def connect(self) -> None:
        self._client = await nats.connect(self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.5)

    async def close(self) -> None:
        await self._client.close()

    async def publish(self, subject: str, value: dict[str, Any]) -> None:
        """Store a value; the stream drops one of the same ``open_time`` that comes within two minutes."""
        headers = {"Nats-Msg-Id": f"{subject} {value['open_time']}"}
        await self._client.jetstream().publish(subject, json.dumps(value).encode(), headers=headers)

    async def before(self, subject: str, sequence: int) -> list[KLine]:
        """:returns: all k-lines of a subject before the message with this number, which must be there."""
        found: list[KLine] = []
        subscription = await self._client.jetstream().subscribe(subject, ordered_consumer=True)
        try:
            async for message in subscription.messages:
                if message.metadata.sequence.stream >= sequence:
                    break
                found.append(json.loads(message.data))
        finally:
            await subscription.unsubscribe()
        return found
