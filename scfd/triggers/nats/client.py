"""nats-py's client, with an end that always comes and a shorter way for messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define
from nats.aio.client import Client as NatsClient
from nats.errors import ConnectionClosedError, Error

#: Seconds: messages in a row that hold up the reactor for no longer than this, by themselves.
LONGEST_BURST = 0.005


@define(eq=False)
class Message:
    """
    What has come for a subscription.

    :ivar reply: where an answer goes; empty when none is wanted.
    """

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None


class Client(NatsClient):
    """
    The only place that knows of nats-py's own affairs.

    Its way for messages to a callback, a queue and a task for each subscription, takes a fifth of all the
    time that a message takes in a node. What is in ``direct`` is called at once.

    :ivar direct: by the id of a subscription, what is called with each of its messages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, Callable[[Message], object]] = {}
        self._yielded_at = 0.0
        self._now = asyncio.get_running_loop().time

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        received = self.direct.get(sid)
        if received is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        parsed = await self._process_headers(headers) if headers else None
        received(Message(subject.decode(), reply.decode(), bytes(data), parsed))
        now = self._now()
        if now - self._yielded_at > LONGEST_BURST:
            await asyncio.sleep(0)
            self._yielded_at = self._now()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server = self._current_server
        wanted = self.options.get("tls") or (server is not None and server.uri.scheme == "tls")
        encrypted = info.get("tls_required") or self.options.get("tls_handshake_first")
        if initial_connection and wanted and not encrypted:
            # nats-py would send the login in clear.
            raise Error("the server does not offer TLS, which is wanted")
        await super()._process_info(info, initial_connection)

    async def publish_all(self, messages: Iterable[tuple[str, bytes, str]]) -> None:
        """
        Publish short messages at once: for a single one, nats-py takes as long as we do for all the rest.

        :param messages: (subject, payload, reply) of each; the reply may be empty.
        :raises nats.errors.ConnectionClosedError: there is no connection any more.
        """
        if not self.is_connected:
            raise ConnectionClosedError
        commands = [
            f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
            for subject, payload, reply in messages
        ]
        await self._send_command(b"".join(commands))
        await self._flush_pending()

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, and somebody who reads what comes."""
        return self.is_connected and self._reading_task is not None and not self._reading_task.done()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Whoever waited for it has given up. nats-py 2.16 stops reading at this, without a word, and
            # stays connected.
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except OSError:
            # It wanted to write what was left, such as acks, to a connection that is broken (nats-py
            # 2.16), which ended the closing half-way. Without this the loss went unnoticed for 10 s.
            self._pending, self._pending_data_size = [], 0
            self._status = NatsClient.DISCONNECTED  # for a closed one there is nothing to close
            await super()._close(status, do_cbs)
