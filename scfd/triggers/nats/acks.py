"""Acks, naks and their like: what becomes of each message at the server."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.events.wire import to_json
from scfd.status.metrics import Metrics
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer_config import NANO, Terms
from scfd.triggers.nats.dead_letter import DeadLetters
from scfd.triggers.nats.jetstream import REQUEST_TIMEOUT, reason
from scfd.triggers.nats.message import Delivery

_log = Logger(namespace="scfd.nats")

# https://docs.nats.io/reference/reference-protocols/nats_api_reference: acknowledging messages.
ACK, NAK, IN_PROGRESS, TERM = b"+ACK", b"-NAK", b"+WPI", b"+TERM"
#: Messages that have failed for good here and are remembered.
_MOST_FAILED = 1000
#: Seconds between two tries to have an acknowledgement confirmed.
CONFIRM_PAUSE = 1.0


class Acks:
    """
    Acknowledges messages, or has them delivered again, or buries them.

    :param terms: whose ``max_deliver`` says which delivery is the last.
    :param dead_letters: None where the trigger has no ``dead_letter``.
    :ivar stopping: whether the node stops: an acknowledgement that is not confirmed now will not be.
    """

    def __init__(
        self,
        settings: NatsSettings,
        terms: Terms,
        connection: Connection,
        dead_letters: DeadLetters | None,
        metrics: Metrics,
        clock: IReactorTime,
    ) -> None:
        self._settings = settings
        self._terms = terms
        self._connection = connection
        self._dead_letters = dead_letters
        self._clock = clock
        self._double = settings.ack == "double"
        self._count = metrics.messages
        self.stopping = False
        self._failed: deque[int] = deque(maxlen=_MOST_FAILED)
        self._acknowledged = metrics.messages.labels(settings.name, "ack")

    def succeeded(self, delivery: Delivery) -> Deferred[None] | None:
        """:returns: a Deferred that fires when the server has confirmed, or None where it is not asked to."""
        if self._double:
            return Deferred.fromCoroutine(self._confirm(delivery))
        self._connection.respond(delivery.reply, ACK)
        self._acknowledged.inc()
        return None

    async def _confirm(self, delivery: Delivery) -> None:
        while True:
            try:
                await self._connection.request(delivery.reply, ACK, REQUEST_TIMEOUT)
            except CancelledError:
                raise
            except Exception as error:
                _log.debug(
                    "{trigger}: acknowledging: {error}",
                    trigger=self._settings.name,
                    error=reason(error),
                    **delivery.ids,
                )
            else:
                self._acknowledged.inc()
                return
            if self.stopping:
                break
            await deferLater(self._clock, CONFIRM_PAUSE)
        _log.warn(
            "{trigger}: the acknowledgement of message {sequence} of stream {stream} is not confirmed; the "
            "message may come again",
            trigger=self._settings.name,
            **delivery.about,
        )
        self._counted("unconfirmed")

    def ack_again(self, delivery: Delivery) -> None:
        """A message has come again that is handled already: its acknowledgement was lost on its way."""
        self._connection.respond(delivery.reply, ACK)
        self._counted("repeated")

    def failed(self, delivery: Delivery, text: str, interrupted: bool) -> Deferred[None] | None:
        """
        :param text: why.
        :param interrupted: whether it is this node's end that has ended it.
        :returns: None, or a Deferred that fires when the message is buried.
        """
        if not self.can_give_back(delivery):
            return self._last_failed(delivery, text, interrupted)
        if interrupted:
            self.give_back(delivery)
            return None
        backoff = self._settings.backoff
        delay = backoff[min(delivery.delivered, len(backoff)) - 1]
        self._connection.respond(delivery.reply, NAK + b" " + to_json({"delay": round(delay * NANO)}))
        _log.debug(
            "{trigger}: message {sequence} of stream {stream} is to come again in {delay:g} s",
            trigger=self._settings.name,
            delay=delay,
            **delivery.about,
        )
        self._counted("nak")
        return None

    def _last_failed(self, delivery: Delivery, text: str, interrupted: bool) -> Deferred[None] | None:
        if self._dead_letters is not None:
            return Deferred.fromCoroutine(self._bury(self._dead_letters, delivery, text, interrupted))
        _log.error(
            "{trigger}: message {sequence} of stream {stream} failed at its last delivery, number {count}:"
            " {reason}",
            trigger=self._settings.name,
            count=delivery.delivered,
            reason=text,
            **delivery.about,
        )
        self._connection.respond(delivery.reply, NAK)
        self._exhausted(delivery)
        return None

    async def _bury(
        self, dead_letters: DeadLetters, delivery: Delivery, text: str, interrupted: bool
    ) -> None:
        if await dead_letters.bury(delivery, text, once=interrupted):
            self._connection.respond(delivery.reply, TERM)
            self._counted("dead letter")
        elif not interrupted:
            self._exhausted(delivery)
        else:
            self._counted("exhausted")

    def _exhausted(self, delivery: Delivery) -> None:
        self._failed.append(delivery.sequence)
        self._counted("exhausted")

    def has_failed(self, sequence: int) -> bool:
        """Whether the message with this stream sequence has failed for good here, which was said."""
        return sequence in self._failed

    @property
    def max_deliver(self) -> int:
        """After how many deliveries the server gives a message up; -1 is never."""
        return self._terms.max_deliver

    def postponed(self) -> None:
        """Count a message that stays here since it could not be handled now."""
        self._counted("postponed")

    def can_give_back(self, delivery: Delivery) -> bool:
        """Whether the server would deliver the message again."""
        return self._terms.max_deliver == -1 or delivery.delivered < self._terms.max_deliver

    def give_back(self, delivery: Delivery) -> None:
        """Have the message delivered again at once, here or elsewhere."""
        self._connection.respond(delivery.reply, NAK)
        self._counted("given back")

    def extend(self, delivery: Delivery) -> None:
        """Tell the server that the message is being worked on: its deadline begins anew."""
        self._connection.send(delivery.reply, IN_PROGRESS)

    def _counted(self, outcome: str) -> None:
        self._count.labels(self._settings.name, outcome).inc()
