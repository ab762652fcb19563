"""Where messages go whose last delivery has failed."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.status.readiness import Readiness
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.jetstream import publish, reason
from scfd.triggers.nats.message import Delivery

_log = Logger(namespace="scfd.nats")

#: Seconds between two tries to publish; doubled up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Characters of a reason; a plugin's answer may be long, and headers count against the server's limit.
LONGEST_REASON = 500


def letter_headers(settings: NatsSettings, delivery: Delivery, text: str) -> dict[str, str]:
    """
    The message's own headers, and what became of it.

    Those that begin with ``Nats-`` are left out: they would tell the server what to do with the
    letter, or have it taken for a duplicate of the message.
    """
    headers = {
        name: value
        for name, value in (delivery.message.headers or {}).items()
        if not name.lower().startswith("nats-")
    }
    headers.update(
        {
            "Scfd-Reason": " ".join(text.split())[:LONGEST_REASON],
            "Scfd-Trigger": settings.name,
            "Scfd-Stream": delivery.stream,
            "Scfd-Subject": delivery.message.subject,
            "Scfd-Sequence": str(delivery.sequence),
            "Scfd-Deliveries": str(delivery.delivered),
            # A letter that is published once more, since its confirmation was lost, is the same one.
            "Nats-Msg-Id": f"{delivery.stream}.{settings.consumer_name}.{delivery.key}",
        }
    )
    return headers


class DeadLetters:
    """
    Publishes the messages that have failed for good.

    The server does not deliver such a message again, whatever it is told. So until the letter is in
    a stream, the message is kept here, and its place in the concurrency with it.
    """

    def __init__(
        self, settings: NatsSettings, connection: Connection, readiness: Readiness, clock: IReactorTime
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._readiness = readiness
        self._clock = clock
        self._component = f"dead letters of {settings.name}"
        self._failing: set[Delivery] = set()

    async def bury(self, delivery: Delivery, text: str, once: bool = False) -> bool:
        """
        Publish a message, however often that takes.

        :param text: why it has failed.
        :param once: try it once only, for the end of the node.
        :returns: whether the server has confirmed it.
        """
        pause = FIRST_PAUSE
        headers = letter_headers(self._settings, delivery, text)
        try:
            while True:
                why = await self._publish(delivery, headers)
                if why is None:
                    break
                self._not_well(delivery, why)
                if once:
                    return False
                await deferLater(self._clock, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        finally:
            self._well(delivery)
        _log.warn(
            "{trigger}: message {sequence} of stream {stream} failed at its last delivery, number {count},"
            " and is on {subject} now: {reason}",
            trigger=self._settings.name,
            sequence=delivery.sequence,
            stream=delivery.stream,
            count=delivery.delivered,
            subject=self._settings.dead_letter,
            reason=text,
        )
        return True

    async def _publish(self, delivery: Delivery, headers: dict[str, str]) -> str | None:
        """:returns: why it is not in a stream; None when it is."""
        try:
            await publish(self._connection, self._settings.dead_letter, delivery.message.data, headers)
        except CancelledError:
            raise
        except Exception as error:
            return reason(error)
        return None

    def _not_well(self, delivery: Delivery, why: str) -> None:
        self._failing.add(delivery)
        text = f"message {delivery.sequence} can't be published on {self._settings.dead_letter}: {why}"
        known = (problem.reason for problem in self._readiness.problems())
        if text not in known:
            _log.error("{trigger}: {text}; trying on", trigger=self._settings.name, text=text)
        self._readiness.problem(self._component, text)

    def _well(self, delivery: Delivery) -> None:
        self._failing.discard(delivery)
        if not self._failing:
            self._readiness.well(self._component)
