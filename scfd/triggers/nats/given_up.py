"""What becomes of a message that the server has given up, since its last delivery ended with its node."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.events.wire import from_json
from scfd.status.context import Context
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.dead_letter import DeadLetters
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.jetstream import reason, stored
from scfd.triggers.nats.message import Delivery

_log = Logger(namespace="scfd.nats")

#: Seconds between two tries to read a message.
FETCH_PAUSE = 5.0


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
                    found = await stored(self._connection, settings.api, settings.stream, {"seq": sequence})
                    if found is None:
                        return None
                    place = f"{settings.stream}.{settings.consumer_name}.{delivered}.{sequence}.0"
                    found.reply = f"$JS.ACK.{place}.{found.nanoseconds}.0"
                    return Delivery(found)
                except CancelledError:
                    raise
                except Exception as error:
                    text = f"message {sequence} can't be read for its dead letter: {reason(error)}"
                advice = "look what this user may do at the server"
                if self._readiness.problem(self._component, text, advice):
                    _log.error("{trigger}: {text}; trying on", trigger=settings.name, text=text)
                await deferLater(self._clock, FETCH_PAUSE)
        finally:
            self._readiness.well(self._component)

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
