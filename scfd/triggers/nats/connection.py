"""A connection to NATS that several triggers share, and that never gives up."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger

from scfd.deferreds import from_asyncio
from scfd.errors import describe
from scfd.status.said import Said
from scfd.triggers.nats.access import Access, login_of, without_login
from scfd.triggers.nats.client import Client, Message, check_nats_py

_log = Logger(namespace="scfd.nats")

# Seconds.
#: For one server to take the connection.
CONNECT_TIMEOUT = 5.0
#: Between two rounds of tries; the first pause is short, for a server that is just started again.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
#: From one look at a connection to the next.
LOOK_INTERVAL = 0.5
#: Looks after which a server is asked for a sign of life, and seconds for it: one that hangs closes nothing.
PING_EVERY, PING_TIMEOUT = 20, 5.0
#: For the last words at the end.
CLOSE_TIMEOUT = 2.0
#: For messages that are still on their way when a subscription ends.
DRAIN_TIMEOUT = 3.0


class NotConnectedError(Exception):
    """There is no connection to a server now; the text says why."""


class Connection(Service):
    """
    Connects, however long it takes, and connects again whenever the connection is lost.

    nats-py's own reconnecting is not used: it ends for good at some errors, and gives no sign of it.

    :param name: by which servers list this client.
    :ivar reason: why there is no connection; empty while there is one.
    """

    def __init__(self, access: Access, name: str) -> None:
        self._access = access
        self._name = name
        self._client: Client | None = None
        self._known: list[str] = access.servers
        self._options: dict[str, Any] = {}
        self._outgoing: deque[tuple[str, bytes, str, bool]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._watchers: list[Callable[[], object]] = []
        self._running: Deferred[None] | None = None
        self._complaints = Said()
        #: Whether the server has not responded lately.
        self._hangs = False
        self.reason = "not connected yet"

    @property
    def connected(self) -> bool:
        """Whether a server is there now."""
        return self._client is not None

    def watch(self, watcher: Callable[[], object]) -> None:
        """Have ``watcher`` called when the connection is lost, or can't be made for another reason."""
        self._watchers.append(watcher)

    def up(self) -> Deferred[None]:
        """:returns: a Deferred that fires as soon as there is a connection. It may be cancelled."""
        if self._client is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred(lambda waiting: self._waiting.remove(waiting))
        self._waiting.append(waiting)
        return waiting

    def startService(self) -> Deferred[None]:
        """
        :returns: a Deferred that fires once it tries to connect.
        :raises StartupError: the credentials or certificates of the config can't be used, or nats-py is of
            another release; for the latter the Deferred fails.
        """
        super().startService()
        self._options = self._access.options()
        random.shuffle(self._known)
        return from_asyncio(check_nats_py()).addCallback(self._begin)

    def _begin(self, _: None) -> None:
        self._running = from_asyncio(self._run())
        self._running.addErrback(lambda failure: failure.trap(CancelledError))

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when all that was to be said is said, and the connection closed."""
        super().stopService()
        return from_asyncio(self._finish())

    def respond(self, reply: str, payload: bytes = b"") -> None:
        """Acknowledge a message, on this connection or on the next one."""
        self._outgoing.append((reply, payload, "", True))
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    def send(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """Say something that means nothing any more once this connection is lost."""
        if self._client is not None:
            self._outgoing.append((subject, payload, reply, False))
            if self._wake is not None:
                self._wake.set_result(None)
                self._wake = None

    def request(
        self, subject: str, payload: bytes, timeout: float, headers: dict[str, str] | None = None
    ) -> Deferred[Msg]:
        """
        :param timeout: seconds.
        :returns: a Deferred of the response. It fails with `NotConnectedError`,
            `nats.errors.NoRespondersError`, or a TimeoutError of nats-py or asyncio.
        """
        if self._client is None:
            return fail(NotConnectedError(self.reason))
        return from_asyncio(self._client.request(subject, payload, timeout=timeout, headers=headers))

    def subscribe(
        self, subject: str, callback: Callable[[Message], object], queue: str = ""
    ) -> Deferred[Subscription]:
        """
        :param callback: called with each message, in order.
        :param queue: the queue group, whose members get each message once together; empty is none.
        :returns: a Deferred of a subscription, which ends with this connection.
        """
        if self._client is None:
            return fail(NotConnectedError(self.reason))
        return from_asyncio(self._client.listen(subject, callback, queue))

    def unsubscribe(self, subscription: Subscription) -> Deferred[None]:
        """:returns: a Deferred that fires when the messages on their way have arrived."""
        return from_asyncio(self._unsubscribe(subscription))

    async def _unsubscribe(self, subscription: Subscription) -> None:
        try:
            await asyncio.wait_for(subscription.drain(), DRAIN_TIMEOUT)
        except asyncio.TimeoutError:
            self._hangs = True
        except Exception:
            """The connection is gone, and the subscription with it."""

    @property
    def max_payload(self) -> int:
        """Bytes of a message, headers included, that the server takes; 0 while it is not known."""
        return self._client.max_payload if self._client is not None else 0

    def process_of(self, server: str) -> str:
        """
        :param server: a server's name; empty outside of clusters.
        :returns: the id of its process, if this is a connection to it; else empty.
        """
        client = self._client
        return client.process_id if client is not None and server in ("", client.server_name) else ""

    def new_inbox(self) -> str:
        """A subject for responses that nobody else has."""
        return self._client.new_inbox() if self._client is not None else ""

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                client = await self._connect()
            except Exception as error:
                self._set(None, f"can't connect to {self._access.shown}: {describe(error)}")
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            writing = asyncio.ensure_future(self._write(client))
            try:
                self._set(client, "")
                await self._watch(client)
                self._set(None, _why(client))
            finally:
                writing.cancel()
                await _close(client)

    async def _connect(self) -> Client:
        """Try each server once."""
        for server in list(self._known):
            # The next try begins with the next server.
            self._known.append(self._known.pop(0))
            try:
                return await self._connect_to(server)
            except Exception as error:
                reason = error
        raise reason

    async def _connect_to(self, server: str) -> Client:
        client = Client(self._complain)
        options = {"name": self._name, **self._login(server), **self._options}
        try:
            await client.open(without_login(server), CONNECT_TIMEOUT, **options)
        except BaseException:
            await _close(client)
            raise
        found = [f"{url.scheme}://{url.netloc}" for url in client.servers]
        self._known = still_known(self._known, self._access.servers, found)
        return client

    def _login(self, server: str) -> dict[str, str]:
        """The login in the URL; servers learned from the cluster inherit the first one of the config."""
        return login_of(server) or next(filter(None, map(login_of, self._access.servers)), {})

    async def _watch(self, client: Client) -> None:
        """Wait until the connection is lost, or does not respond any more."""
        looks = 0
        while not client.lost.done() and client.is_alive:
            await asyncio.wait({client.lost}, timeout=LOOK_INTERVAL)
            looks += 1
            if not client.lost.done() and looks % PING_EVERY == 0:
                try:
                    await client.flush(int(PING_TIMEOUT))
                except Exception:
                    return

    async def _write(self, client: Client) -> None:
        outgoing = self._outgoing
        loop = asyncio.get_running_loop()
        while True:
            while outgoing:
                subject, payload, reply, _ = outgoing[0]
                await client.publish(subject, payload, reply)
                outgoing.popleft()
            self._wake = loop.create_future()
            await self._wake

    async def _finish(self) -> None:
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT
        while self._outgoing and self._client and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        client = self._client
        if client is not None and not self._hangs:
            with suppress(Exception):
                await client.flush(int(CLOSE_TIMEOUT))  # the last acks
        if self._running is not None:
            self._running.cancel()
        if client is not None:
            await _close(client)

    def _set(self, client: Client | None, reason: str) -> None:
        self._client = client
        self._hangs = False
        if client is None:
            self._wake = None
            # What is left belongs to the connection that is gone, but for acks and naks.
            self._outgoing = deque(entry for entry in self._outgoing if entry[3])
        else:
            url = client.connected_url
            _log.info("connected to {server}", server=url.netloc.rpartition("@")[2] if url else "a server")
            self._complaints = Said()
            self.reason = reason
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
            return
        if reason != self.reason:
            self.reason = reason
            for watcher in self._watchers:
                watcher()

    def _complain(self, error: Exception) -> None:
        """What the server has to say while it stays connected, such as that a subject is not permitted."""
        text = describe(error)
        if self._complaints.first(text):
            _log.warn("{server}: {error}", server=self._access.shown, error=text)


def still_known(known: list[str], configured: list[str], found: list[str]) -> list[str]:
    """
    The servers to try from now on: those of the config, and what the cluster consists of now. A server that
    has left it costs each round of tries `CONNECT_TIMEOUT`.

    :param known: in the order in which they are tried.
    :param found: the cluster, as the server that has just taken the connection sees it.
    """
    kept = [server for server in known if server in configured or without_login(server) in found]
    there = {without_login(server) for server in kept}
    return kept + [server for server in found if server not in there]


def _why(client: Client) -> str:
    error = client.last_error
    return f"disconnected: {describe(error)}" if error else "disconnected"


async def _close(client: Client) -> None:
    with suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_TIMEOUT)
