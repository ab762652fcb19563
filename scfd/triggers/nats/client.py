"""nats-py's client, mended where one message or a moment of silence would end the connection."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Protocol

from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from scfd.errors import StartupError

#: Seconds: messages in a row hold up the reactor for no longer than this.
LONGEST_BURST = 0.005
#: The header of a message whose subject or headers could not be read as they are: which of the two.
UNREADABLE = "Scfd-Unreadable"
#: What a server says after the last message of each pull request with ``max_bytes``. Nobody needs it, and
#: with a batch of 10 it would be a tenth more to do for each message.
BATCH_COMPLETED = b"NATS/1.0 409 Batch Completed"
#: What `Client` uses of nats-py's own affairs. They are those of the release that setup.cfg names.
HOOKS = ("_process_msg", "_process_headers", "_process_info", "_process_pong", "_close")
ATTRIBUTES = (
    "_pongs",
    "_pings_outstanding",
    "_reading_task",
    "_pending",
    "_pending_data_size",
    "_server_info",
    "_status",
)


class Message(Protocol):
    """
    What has come for a subscription.

    :ivar reply: where an ack or a response goes; empty when none is wanted.
    """

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


class Client(NatsClient):
    """
    The only place that knows of nats-py's own affairs: each override says what would happen without it.

    All of it was seen with nats-py 2.16.

    :param complain: called with what the server has to say while the connection lasts.
    :ivar lost: done once the connection has ended.
    """

    def __init__(self, complain: Callable[[Exception], object] = lambda error: None) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._refused: asyncio.Future[None] = loop.create_future()
        self._complain = complain

    async def open(self, server: str, timeout: float, **options: Any) -> None:
        """
        Connect, once.

        :param timeout: seconds.
        :raises Exception: the server refuses, or does not respond.
        """
        options |= {"error_cb": self._on_error, "closed_cb": self._on_closed, "allow_reconnect": False}
        connecting = asyncio.ensure_future(self.connect(server, connect_timeout=int(timeout), **options))
        try:
            # nats-py tries a server that refuses again and again, and only tells its error_cb.
            done, _ = await asyncio.wait(
                {connecting, self._refused}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if self._refused in done:
                self._refused.result()
            if connecting not in done:
                raise TimeoutError(f"no response after {timeout:g} s")
            connecting.result()
        except BaseException:
            connecting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await connecting
            raise
        self._refused.cancel()

    async def _on_error(self, error: Exception) -> None:
        if not self._refused.done():
            self._refused.set_exception(error)
            self._refused.exception()  # it is seen, even if nobody asks any more
        elif self.is_connected:
            self._complain(error)

    async def _on_closed(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    async def listen(
        self, subject: str, callback: Callable[[Message], object], queue: str = ""
    ) -> Subscription:
        """Subscribe. :param callback: called with each message, in order."""
        now = asyncio.get_running_loop().time
        yielded_at = 0.0

        async def deliver(message: Msg) -> None:
            nonlocal yielded_at
            callback(message)
            # A queue that is never empty gives nobody else a turn.
            if now() - yielded_at > LONGEST_BURST:
                await asyncio.sleep(0)
                yielded_at = now()

        # Without a limit in bytes: whoever pulls knows how much it has asked for, and nothing may be dropped.
        return await self.subscribe(subject, queue, cb=deliver, pending_bytes_limit=0)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if not reply and headers and headers.startswith(BATCH_COMPLETED):
            return
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except ValueError:
            # A subject that is not UTF-8 would end the reading of the whole connection.
            readable = subject.decode(errors="backslashreplace").encode()
            marked = b"NATS/1.0\r\n%b: subject\r\n\r\n" % UNREADABLE.encode()
            await super()._process_msg(sid, readable, reply, data, marked)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        # A header block of `NATS/1.0` alone would end the reading of the whole connection; of a repeated
        # header all values but the last would be lost.
        return parse_headers(headers) if headers else None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server = self._current_server
        wanted = self.options.get("tls") or (server is not None and server.uri.scheme == "tls")
        encrypted = info.get("tls_required") or self.options.get("tls_handshake_first")
        if initial_connection and wanted and not encrypted:
            # The login would be sent in clear.
            raise Error("the server does not offer TLS, which is wanted")
        await super()._process_info(info, initial_connection)

    @property
    def server_name(self) -> str:
        """The name of the server that this is connected to."""
        return str(self._server_info.get("server_name", ""))

    @property
    def process_id(self) -> str:
        """The id that the server has made for itself when it started."""
        return str(self._server_info.get("server_id", ""))

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, and somebody who reads what comes."""
        return self.is_connected and self._reading_task is not None and not self._reading_task.done()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            # Whoever waited for it has given up. Reading would stop at this, without a word, on a connection
            # that stays.
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except OSError:
            # What was left to be written, such as acks, could not be, and closing ended half-way: the loss
            # went unnoticed for 10 s.
            self._pending, self._pending_data_size = [], 0
            self._status = NatsClient.DISCONNECTED  # for a closed one there is nothing to close
            await super()._close(status, do_cbs)


def parse_headers(block: bytes) -> dict[str, str]:
    """
    A message's header block, ``NATS/1.0[ status[ description]]`` and then ``Name: value`` lines (NATS ADR-4).

    :returns: the headers, with ``Status`` and ``Description`` where the first line has them. The values of a
        repeated header are joined by commas; bytes that are not UTF-8 are written as ``\\xNN``. What is no
        header is left out, and `UNREADABLE` says so.
    """
    first, *lines = block.decode(errors="backslashreplace").rstrip("\r\n").split("\r\n")
    headers: dict[str, str] = {}
    readable = first.startswith("NATS/1.0")
    status, _, description = first[len("NATS/1.0") :].strip().partition(" ")
    if status.isdigit():
        headers["Status"] = status
        if description:
            headers["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if colon and name:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        else:
            readable = False
    if not readable or (not lines and not status):
        headers[UNREADABLE] = "headers"
    return headers


async def check_nats_py() -> None:
    """
    See that nats-py has what `Client` overrides, and calls it: else messages would silently reach nobody.

    :raises StartupError: it has not.
    """
    called = set()

    class Watched(Client):
        async def _process_msg(self, *arguments: Any) -> None:
            called.add("_process_msg")
            await super()._process_msg(*arguments)

        async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
            called.add("_process_headers")
            return await super()._process_headers(headers)

        async def _process_info(self, *arguments: Any, **named: Any) -> None:
            called.add("_process_info")

        async def _process_pong(self) -> None:
            called.add("_process_pong")

        async def _close(self, *arguments: Any, **named: Any) -> None:
            called.add("_close")

    missing = [name for name in HOOKS if not inspect.iscoroutinefunction(getattr(NatsClient, name, None))]
    if not missing:
        client = Watched()
        missing = [name for name in ATTRIBUTES if not hasattr(client, name)]
        with suppress(Exception):  # whatever fails, some hook has not been called
            client._subs[1] = Subscription(client, 1, "s")
            await client._ps.parse(b"INFO {}\r\nPONG\r\nHMSG s 1 12 12\r\nNATS/1.0\r\n\r\n\r\n")
            await client.close()
        missing += [name for name in HOOKS if name not in called]
    if missing:
        raise StartupError(
            f"NATS: nats-py {version('nats-py')} does not have {missing[0]} as the release that scfd works "
            "with; install that one: pip install 'nats-py ~= 2.16.0'"
        )
