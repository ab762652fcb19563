"""Pull requests: how messages are asked for, and whether anything is still heard of the consumer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from nats.aio.subscription import Subscription
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from scfd.config import NatsSettings
from scfd.deferreds import from_asyncio
from scfd.events.wire import to_json
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.connection import Connection

_NANO = 1_000_000_000
#: Seconds: pull requests that stand shorter than this have no heartbeats; their ends are often enough.
SHORTEST_WITH_HEARTBEAT = 2.0
#: Seconds between two heartbeats, at most.
LONGEST_HEARTBEAT = 3.0
#: Seconds more than two heartbeats until silence counts as a stall.
GRACE = 1.0
#: Seconds for what is on its way when nothing more is wanted.
DRAIN_TIMEOUT = 3.0
#: Pull requests that stand at the same time; a consumer takes 512, of all nodes together.
MOST_STANDING = 32


class Pulls:
    """
    What one trigger has asked of its consumer, on one inbox.

    :param received: called with each message.
    :param expired: called when a request has ended without all its messages: there is room for another.
    :param lost: called with a reason when there is nothing more to be expected.
    :ivar requested: messages asked for that have not come yet.
    :ivar arrived: messages that have come.
    """

    def __init__(
        self,
        connection: Connection,
        settings: NatsSettings,
        received: Callable[[Message], object],
        expired: Callable[[], object],
        lost: Callable[[str], object],
        clock: IReactorTime,
    ) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{settings.stream}.{settings.consumer_name}"
        self._batch = settings.batch_size
        self._expires = settings.fetch_max_wait
        self._heartbeat = min(LONGEST_HEARTBEAT, self._expires * 0.2)
        if self._expires < SHORTEST_WITH_HEARTBEAT:
            self._heartbeat = 0.0
        self._longest_silence = (self._heartbeat * 2 or self._expires * 2) + GRACE
        self._received = received
        self._expired = expired
        self._lost = lost
        self._clock = clock
        self._inbox = connection.new_inbox()
        self._subscription: Subscription | None = None
        #: When each request ends, and how many of its messages are still to come.
        self._standing: deque[list[float]] = deque()
        self._heard = True
        self._heard_at = 0.0
        self.requested = 0
        self.arrived = 0

    async def start(self) -> None:
        """Listen; then `ask` may be called."""
        self._subscription = await self._connection.subscribe(self._inbox, self._arrived)

    def stop(self) -> Deferred[None]:
        """
        Expect no more: the server gives what it has not sent yet to others.

        :returns: a Deferred that fires when all that was on its way has come.
        """
        subscription, self._subscription = self._subscription, None
        self.requested = 0
        return from_asyncio(_drain(subscription))

    def ask(self, count: int) -> None:
        """Ask for so many messages more."""
        if self._subscription is None:
            return
        if not self.requested:
            self._heard = True  # silence counts from now on
        now = self._clock.seconds()
        while count > 0 and len(self._standing) < MOST_STANDING:
            batch = min(count, self._batch)
            count -= batch
            self.requested += batch
            self._standing.append([now + self._expires + GRACE, batch])
            self._connection.send(self._subject, self._request(batch), self._inbox)

    def _request(self, batch: int) -> bytes:
        request = {"batch": batch, "expires": round(self._expires * _NANO)}
        if self._heartbeat:
            request["idle_heartbeat"] = round(self._heartbeat * _NANO)
        return to_json(request)

    def look(self) -> None:
        """Notice silence, and answers that were lost; to be called once a second or so."""
        now = self._clock.seconds()
        while self._standing and self._standing[0][0] <= now:
            self._taken_off(int(self._standing[0][1]))
        if self._heard or not self.requested:
            self._heard = False
            self._heard_at = now
        elif now - self._heard_at > self._longest_silence:
            self._lost(f"nothing heard of the consumer for {now - self._heard_at:.1f} s")

    def _arrived(self, message: Message) -> None:
        self._heard = True
        if message.reply:
            self.arrived += 1
            self._taken_off(1)
            self._received(message)
        elif message.headers:
            self._status(message.headers)

    def _taken_off(self, count: int) -> None:
        """So many messages less are to be expected. The oldest request is served first, or nearly so."""
        standing = self._standing
        self.requested = max(0, self.requested - count)
        while standing and count >= standing[0][1]:
            count -= int(standing.popleft()[1])
        if standing:
            standing[0][1] -= count

    def _status(self, headers: dict[str, str]) -> None:
        """What the server says of requests: ADR-13, ADR-37."""
        status, text = headers.get("Status"), headers.get("Description", "")
        if status == "100":  # a heartbeat
            return
        if status in ("404", "408"):  # a request has expired, with so many messages not delivered
            self._taken_off(int(headers.get("Nats-Pending-Messages", 0)))
            self._expired()
        elif self._subscription is not None:
            self._lost("nobody answers pull requests" if status == "503" else f"the server says: {text}")


async def _drain(subscription: Subscription | None) -> None:
    if subscription is not None:
        with suppress(Exception):  # the connection is gone, and the subscription with it
            await asyncio.wait_for(subscription.drain(), DRAIN_TIMEOUT)
