"""Pull requests: ask the consumer for messages, and notice when it has fallen silent."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from nats.aio.subscription import Subscription
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.events.wire import to_json
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer_config import NANO

_log = Logger(namespace="scfd.nats")

# Seconds.
#: A shorter pull request asks for no heartbeats: its expiry is a sign of life often enough.
SHORTEST_WITH_HEARTBEAT = 2.0
LONGEST_HEARTBEAT = 3.0
#: Silence of two heartbeats and this long counts as a stall.
GRACE = 1.0
#: Open pull requests of one node. A consumer's default limit is 512 for all nodes together.
MOST_OPEN = 32
#: Bytes that the server counts for a message beyond its headers and body: its subject and the one for acks,
#: each at most as long as a line of the protocol.
_ENVELOPE = 8192
#: The server's default ``max_payload``, where it is not known.
_USUAL_MAX_PAYLOAD = 1024 * 1024


@frozen
class PullTerms:
    """
    What pull requests look like: what the trigger wants, within the limits of its consumer.

    :ivar trigger: its name.
    :ivar subject: where requests go.
    :ivar batch: messages that one request asks for at most.
    :ivar expires: seconds that a request stays open.
    :ivar max_bytes: bytes of messages that one request asks for at most; one message always fits, unless the
        consumer's own limit is below the server's ``max_payload``.
    :ivar most_bytes: bytes that open requests may bring, and messages here have, together.
    :ivar most_open: open requests at most.
    :ivar group: the consumer's priority group, or empty.
    """

    trigger: str
    subject: str
    batch: int
    expires: float
    max_bytes: int
    most_bytes: int
    most_open: int = MOST_OPEN
    group: str = ""

    @classmethod
    def of(cls, settings: NatsSettings, config: Mapping[str, Any], max_payload: int) -> PullTerms:
        """
        :param config: the consumer's, from the server; limits that are 0 or missing are none.
        :param max_payload: the server's, in bytes; 0 where it is not known.
        """
        max_bytes = (max_payload or _USUAL_MAX_PAYLOAD) + _ENVELOPE
        return cls(
            settings.name,
            f"{settings.api}.CONSUMER.MSG.NEXT.{settings.stream}.{settings.consumer_name}",
            min(settings.batch_size, config.get("max_batch") or settings.batch_size),
            min(settings.fetch_max_wait, (config.get("max_expires") or math.inf) / NANO),
            min(max_bytes, config.get("max_bytes") or max_bytes),
            settings.max_held_bytes,
            min(MOST_OPEN, config.get("max_waiting") or MOST_OPEN),
            (config.get("priority_groups") or [""])[0],
        )


class Pulls:
    """
    The open pull requests of one trigger; their messages arrive on one inbox.

    :param received: called with each message.
    :param expired: called when a request has expired, so that another can be sent.
    :param lost: called with a reason when no more messages can be expected.
    :ivar requested: how many messages are asked for and have not arrived yet.
    :ivar arrived: how many messages have arrived.
    :ivar alive: whether the consumer has given any sign of life on this inbox.
    :ivar pin: the id that a consumer with pinned clients has given to this one. It outlives the inbox:
        without it the consumer sends nothing until its ``priority_timeout``.
    """

    def __init__(
        self,
        connection: Connection,
        terms: PullTerms,
        received: Callable[[Message], object],
        expired: Callable[[], object],
        lost: Callable[[str], object],
        clock: IReactorTime,
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._expires = terms.expires
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
        #: [when it ends, how many of its messages have not arrived] of each request.
        self._open: deque[list[float]] = deque()
        self._crowded = False
        #: Whether a message is due that is larger than ``max_bytes``.
        self._oversized = False
        self._heard = True
        self._heard_at = 0.0
        self.alive = False
        self.pin = ""
        self.requested = 0
        self.arrived = 0

    async def start(self) -> None:
        """Subscribe to the inbox. To be awaited before `ask`."""
        self._subscription = await self._connection.subscribe(self._inbox, self._arrived)

    def stop(self) -> Deferred[None]:
        """
        Unsubscribe: the server sends this node nothing more.

        :returns: a Deferred that fires when the messages on their way have arrived.
        """
        subscription, self._subscription = self._subscription, None
        self.requested = 0
        return self._connection.unsubscribe(subscription) if subscription is not None else succeed(None)

    def ask(self, count: int, held: int = 0) -> None:
        """
        Ask for ``count`` more messages, or fewer where there is no room for their bytes.

        :param held: bytes of the messages that are here.
        """
        if self._subscription is None:
            return
        if not self.requested:
            self._heard = True  # silence is measured from now on
        now = self._clock.seconds()
        while count > 0 and self._may_ask(held):
            batch = 1 if self._oversized else min(count, self._terms.batch)
            count -= batch
            self.requested += batch
            self._open.append([now + self._expires + GRACE, batch])
            self._connection.send(self._terms.subject, self._request(batch), self._inbox)

    def _may_ask(self, held: int) -> bool:
        requests = len(self._open)
        if not requests and not held:
            return True  # whatever the limits are, one message must get through
        if requests >= (1 if self._oversized else self._terms.most_open):
            return False
        return held + (requests + 1) * self._terms.max_bytes <= self._terms.most_bytes

    def _request(self, batch: int) -> bytes:
        request: dict[str, Any] = {"batch": batch, "expires": round(self._expires * NANO)}
        if not self._oversized:
            request["max_bytes"] = self._terms.max_bytes
        if self._heartbeat:
            request["idle_heartbeat"] = round(self._heartbeat * NANO)
        if self._terms.group:
            request["group"] = self._terms.group
        if self.pin:
            request["id"] = self.pin
        return to_json(request)

    def look(self) -> None:
        """Notice silence, and requests whose end was not reported. To be called about once a second."""
        now = self._clock.seconds()
        while self._open and self._open[0][0] <= now:
            self._no_longer_expected(int(self._open[0][1]))
        if self._heard or not self.requested:
            self._heard = False
            self._heard_at = now
        elif now - self._heard_at > self._longest_silence:
            self._lost(f"no sign of the consumer for {self._longest_silence:g} s")

    def _arrived(self, message: Message) -> None:
        self._heard = True
        if message.reply:
            self.alive = True
            self.arrived += 1
            if self._terms.group and message.headers:
                self.pin = message.headers.get("Nats-Pin-Id", "")
            self._no_longer_expected(1)
            if self._oversized:
                size = len(message.subject) + len(message.reply) + len(message.data)
                self._oversized = size > self._terms.max_bytes  # the next one may be as large
            self._received(message)
        elif message.headers:
            self._status(message.headers)

    def _no_longer_expected(self, count: int) -> None:
        """Count off messages, from the oldest request first, which is about the order of the server."""
        requests = self._open
        self.requested = max(0, self.requested - count)
        while requests and count >= requests[0][1]:
            count -= int(requests.popleft()[1])
        if requests:
            requests[0][1] -= count

    def _status(self, headers: dict[str, str]) -> None:
        """
        A status message of the server about a request: ADR-13, ADR-37.

        All others mean that the consumer has to be looked at again: it is gone (``Consumer Deleted``), has
        another leader (``Leadership Change``, ``Server Shutdown``), other limits (``Exceeded MaxRequest…``).
        """
        status, text = headers.get("Status"), headers.get("Description", "")
        too_large = text == "Message Size Exceeds MaxBytes"
        if status == "100":  # a heartbeat
            self.alive = True
        elif status in ("404", "408", "423") or too_large:  # a request has expired, or its pin id, or is full
            if status == "423":
                self.pin = ""
            elif too_large and headers.get("Nats-Pending-Bytes") == str(self._terms.max_bytes):
                self._oversized = True
            self.alive = True
            self._no_longer_expected(int(headers.get("Nats-Pending-Messages", 0)))
            self._expired()
        elif text == "Exceeded MaxWaiting":
            self._refused("other nodes use up the consumer's max_waiting")
        elif status == "429":
            self._refused(f"the server does not take pull requests now: {text}")
        elif self._subscription is not None:
            self._lost("no server takes pulls" if status == "503" else f"the server ended them: {text}")

    def _refused(self, why: str) -> None:
        """
        A request is not taken now; `look` leads to the next try.

        Where other nodes have as many requests open as the consumer takes, one with heartbeats gets no
        response (nats-server 2.15), only silence.
        """
        if self._open:
            self._no_longer_expected(int(self._open[0][1]))
        if not self._crowded:
            self._crowded = True
            _log.warn("{trigger}: {why}; trying again each second", trigger=self._terms.trigger, why=why)
