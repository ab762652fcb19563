"""The node's real connection to NATS, with the server in memory at its other end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, cast
from urllib.parse import ParseResult, urlparse

import nats.errors
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from scfd.testing.consumer import Delivered
from scfd.testing.jetstream import MAX_PAYLOAD, JetStream
from scfd.triggers.nats.access import Access
from scfd.triggers.nats.client import Client, Message
from scfd.triggers.nats.connection import Connection

#: Seconds.
ROUNDING = 1e-6
URL = "nats://jetstream.test:4222"


class Server:
    """
    The server as its clients see it: there, or not.

    :ivar jetstream: what it keeps; that survives it.
    """

    def __init__(self, jetstream: JetStream) -> None:
        self.jetstream = jetstream
        self.is_up = True
        self.clients: list[MemoryClient] = []

    def down(self) -> None:
        """Close all connections, and take none."""
        self.is_up = False
        for client in list(self.clients):
            client.lose("the server is down: a fault of the test")

    def up(self) -> None:
        """Take connections again."""
        self.is_up = True


class _Subscription:
    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    async def drain(self) -> None:
        self.end()


class MemoryClient:
    """What `Connection` uses of nats-py's client."""

    max_payload = MAX_PAYLOAD
    server_name, process_id = "jetstream.test", "MEMORY"
    servers: tuple[ParseResult, ...] = ()
    _numbers = count(1)

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._subscriptions: list[_Subscription] = []
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.last_error: Exception | None = None
        self.connected_url = urlparse(URL)
        server.clients.append(self)

    @property
    def is_alive(self) -> bool:
        return not self.lost.done()

    def lose(self, why: str = "") -> None:
        """End the connection."""
        if self in self._server.clients:
            self._server.clients.remove(self)
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()
        if why:
            self.last_error = ConnectionError(why)
        if not self.lost.done():
            self.lost.set_result(None)

    async def close(self) -> None:
        self.lose()

    async def flush(self, timeout: int) -> None:
        self._check()

    def new_inbox(self) -> str:
        return f"_INBOX.{next(self._numbers)}"

    def _check(self) -> None:
        if not self.is_alive:
            raise nats.errors.ConnectionClosedError

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self._check()
        if len(payload) > self.max_payload:
            raise nats.errors.MaxPayloadError
        self._server.jetstream.publish(subject, payload, headers, reply)

    async def request(
        self, subject: str, payload: bytes = b"", timeout: float = 0.5, headers: dict[str, str] | None = None
    ) -> Delivered:
        self._check()
        inbox, response = self.new_inbox(), self._loop.create_future()
        end = self._server.jetstream.subscribe(
            inbox, lambda message: None if response.done() else response.set_result(message)
        )
        try:
            if not self._server.jetstream.publish(subject, payload, headers, inbox):
                raise nats.errors.NoRespondersError
            return cast(Delivered, await asyncio.wait_for(response, timeout))
        except asyncio.TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            end()

    async def listen(
        self, subject: str, callback: Callable[[Message], object], queue: str = ""
    ) -> _Subscription:
        """See `scfd.triggers.nats.client.Client.listen`."""
        self._check()
        end = self._server.jetstream.subscribe(
            subject, lambda message: self._loop.call_soon(callback, message)
        )
        ended = False

        def end_once() -> None:
            nonlocal ended
            if not ended:
                ended = True
                end()

        self._subscriptions.append(subscription := _Subscription(end_once))
        return subscription


class MemoryConnection(Connection):
    """A `Connection` whose only server is in memory."""

    def __init__(self, access: Access, name: str, server: Server) -> None:
        super().__init__(access, name)
        self._server = server

    def startService(self) -> Deferred[None]:
        Service.startService(self)
        self._begin(None)
        return succeed(None)

    async def _connect(self) -> Client:
        if not self._server.is_up:
            raise ConnectionRefusedError("the server is down: a fault of the test")
        return cast(Client, MemoryClient(self._server))

    async def _watch(self, client: Client) -> None:
        await client.lost  # the server says so at once: there is no need to look


class RestingClock(Clock):
    """
    A clock that stands still while NATS is idle.

    An idle trigger exchanges pull requests and signs of life with its server, three in each second; a day of
    them would take seconds. Nothing comes of them, so the time between two messages is left out for both.

    :param reactor: an `IReactorTime`, whose time this one's is while it does not rest.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._since = reactor.seconds()
        self._resting = False
        self._call: Any = None

    def seconds(self) -> float:
        passed = 0.0 if self._resting else self._reactor.seconds() - self._since
        return float(self.rightNow + passed)

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> Any:
        self._catch_up()
        call = super().callLater(delay, callable, *args, **kw)
        self._arrange()
        return call

    def rest(self, resting: bool) -> None:
        """Stand still, or go on from there."""
        if resting != self._resting:
            self._catch_up()
            self._resting = resting
            self._since = self._reactor.seconds()
            self._arrange()

    def _catch_up(self) -> None:
        if not self._resting:
            now = self._reactor.seconds()
            self.rightNow += now - self._since
            self._since = now

    def _arrange(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self.calls and not self._resting:
            pause = max(0.0, self.calls[0].getTime() - self.rightNow)
            self._call = self._reactor.callLater(pause, self._due)

    def _due(self) -> None:
        self._catch_up()
        if self.calls and 0 < self.calls[0].getTime() - self.rightNow < ROUNDING:
            self.rightNow = self.calls[0].getTime()
        try:
            self.advance(0)
        finally:
            self._arrange()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
