"""What becomes of a message that the server has given up, since its last delivery ended with its node."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.events.wire import from_json
from scfd.status.context import Context
from scfd.triggers.nats.client import parse_headers
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.dead_letter import DeadLetters
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.jetstream import MESSAGE_NOT_FOUND, STREAM_NOT_FOUND, JetStreamError, call, reason
from scfd.triggers.nats.message import Delivery

_log = Logger(namespace="scfd.nats")

#: Seconds between two tries to read a message.
FETCH_PAUSE = 5.0
_GONE = (MESSAGE_NOT_FOUND, STREAM_NOT_FOUND)


@define
class StoredMessage:
    """What `scfd.triggers.nats.client.Message` asks for, of a message that is read from its stream."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


class GivenUp:
    """
    Publishes such messages as dead letters.

    :param deliveries: knows which messages this node has seen through itself.
    :param dead_letters: None where the trigger has no ``dead_letter``: then they are said and counted.
    """

    def __init__(
        self,
        settings: NatsSettings,
        connection: Connection,
        deliveries: Deliveries,
        dead_letters: DeadLetters | None,
        context: Context,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._deliveries = deliveries
        self._dead_letters = dead_letters
        self._readiness = context.readiness
        self._clock = context.reactor
        self._count = context.metrics.messages
        self._component = f"messages given up of {settings.name}"

    async def handle(self, data: bytes) -> None:
        """
        :param data: the server's advisory ``io.nats.jetstream.advisory.v1.max_deliver``.
        :raises Exception: it is no such advisory.
        """
        advisory = from_json(data)
        sequence, delivered = int(advisory["stream_seq"]), int(advisory["deliveries"])
        if self._deliveries.sees_to(sequence, delivered):
            return
        if self._dead_letters is None:
            self._say(
                sequence, f"given up after delivery {delivered}: it failed at another node, or ended with it"
            )
            self._counted("given up")
            return
        delivery = await self._fetch(sequence, delivered)
        if delivery is None:
            self._say(sequence, f"given up after delivery {delivered}, and not in the stream any more")
            self._counted("given up")
        elif await self._dead_letters.bury(delivery, "the node that had it did not acknowledge it in time"):
            self._counted("dead letter")
        else:
            self._counted("exhausted")

    async def _fetch(self, sequence: int, delivered: int) -> Delivery | None:
        """:returns: the message as it was delivered last; None when it is gone."""
        settings = self._settings
        try:
            while True:
                try:
                    subject = f"{settings.api}.STREAM.MSG.GET.{settings.stream}"
                    response = await call(self._connection, subject, {"seq": sequence})
                    return self._delivery(response["message"], delivered)
                except CancelledError:
                    raise
                except Exception as error:
                    if isinstance(error, JetStreamError) and error.code in _GONE:
                        return None
                    text = f"message {sequence} can't be read for its dead letter: {reason(error)}"
                if text not in (problem.reason for problem in self._readiness.problems()):
                    _log.error("{trigger}: {text}; trying on", trigger=settings.name, text=text)
                self._readiness.problem(self._component, text, "look what this user may do at the server")
                await deferLater(self._clock, FETCH_PAUSE)
        finally:
            self._readiness.well(self._component)

    def _delivery(self, stored: dict[str, Any], delivered: int) -> Delivery:
        """:param stored: as ``STREAM.MSG.GET`` has it."""
        settings = self._settings
        reply = (
            f"$JS.ACK.{settings.stream}.{settings.consumer_name}.{delivered}.{stored['seq']}.0"
            f".{_nanoseconds(stored['time'])}.0"
        )
        headers = parse_headers(base64.b64decode(stored["hdrs"])) if stored.get("hdrs") else None
        body = base64.b64decode(stored.get("data", ""))
        return Delivery(StoredMessage(stored["subject"], reply, body, headers))

    def _say(self, sequence: int, what: str) -> None:
        _log.error(
            "{trigger}: message {sequence} of stream {stream} is {what}",
            trigger=self._settings.name,
            sequence=sequence,
            stream=self._settings.stream,
            what=what,
        )

    def _counted(self, outcome: str) -> None:
        self._count.labels(self._settings.name, outcome).inc()


def _nanoseconds(time: str) -> int:
    """:param time: RFC 3339 in UTC, with up to nine digits of a second. :returns: ns since the epoch."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))
