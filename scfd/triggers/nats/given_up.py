"""
Messages that the server has given up, since their last delivery ended with its node: heard of, and published.

It tells that by an advisory, which only those get who are connected at that moment. So that none is missed,
also while no node runs, operators make a stream of them; nodes then read it with a durable consumer.
"""

from __future__ import annotations

from collections import deque

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.errors import describe
from scfd.events.wire import from_json
from scfd.status.context import Context
from scfd.status.said import Said
from scfd.triggers.nats.acks import ACK
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.dead_letter import DeadLetters
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.jetstream import CONSUMER_EXISTS, JetStreamError, call, reason, stored, stream_of
from scfd.triggers.nats.message import Delivery
from scfd.triggers.nats.pulls import Pulls, PullTerms

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


_log = Logger(namespace="scfd.nats")

# Seconds.
#: Between two looks at the connection and the pull requests.
LOOK_INTERVAL = 1.0
#: Between two looks for a stream of advisories.
STREAM_INTERVAL = 60.0
#: How long a pull request stays open.
_EXPIRES = 30.0
#: Bytes of an advisory, at the most; it has about 250.
_MOST_BYTES = 64 * 1024
#: Advisories that may wait here at most.
MOST_WAITING = 10_000


class Advisories(Service):
    """
    Has each advisory about the consumer of one trigger handled, one after the other.

    All nodes together get each advisory once, by a queue group or by the consumer that they share.
    """

    def __init__(
        self, settings: NatsSettings, connection: Connection, given_up: GivenUp, clock: IReactorTime
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._given_up = given_up
        self._clock = clock
        consumer = f"{settings.stream}.{settings.consumer_name}"
        self._subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{consumer}"
        self._group = f"scfd-{settings.stream}-{settings.consumer_name}"
        self._waiting: deque[Message] = deque()
        self._pulls: Pulls | None = None
        #: Why there is nothing more to be heard now.
        self._lost = ""
        self._said = Said()
        self._hearing: Deferred[None] = succeed(None)
        self._working: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._connection.watch(self._disconnected)
        self._hearing = Deferred.fromCoroutine(self._hear())
        self._hearing.addErrback(lambda failure: failure.trap(CancelledError))

    def stopService(self) -> None:
        super().stopService()
        self._hearing.cancel()
        self._working.cancel()
        for message in self._waiting:
            if not message.reply:  # others come again
                text = message.data.decode(errors="replace")
                _log.error(
                    "{trigger}: stopped before this was handled: {text}", trigger=self._group, text=text
                )

    def _disconnected(self) -> None:
        self._lost = self._connection.reason

    async def _hear(self) -> None:
        while True:
            await self._connection.up()
            self._lost = ""
            try:
                if stream := await self._stream():
                    await self._read(stream)
                else:
                    await self._listen()
            except CancelledError:
                raise
            except Exception as error:
                _log.debug("{trigger}: {error}", trigger=self._settings.name, error=reason(error))
            await deferLater(self._clock, LOOK_INTERVAL)

    async def _listen(self) -> None:
        """Until the connection is lost, or there is a stream."""
        subscription = await self._connection.subscribe(self._subject, self._received, self._group)
        next_look = self._clock.seconds() + STREAM_INTERVAL
        while not self._lost:
            await deferLater(self._clock, LOOK_INTERVAL)
            if self._clock.seconds() >= next_look:
                next_look += STREAM_INTERVAL
                if await self._stream():
                    await self._connection.unsubscribe(subscription)
                    return

    async def _stream(self) -> str:
        """
        See that there is a consumer of the stream that keeps the advisories.

        :returns: the name of the stream. Empty when there is none, or this node may not read it; then it has
            to listen.
        """
        if not self._settings.dead_letter:
            return ""
        try:
            if stream := await stream_of(self._connection, self._settings.api, self._subject):
                await self._make_consumer(stream)
            return stream
        except CancelledError:
            raise
        except Exception as error:
            self._say(f"a stream of {self._subject} can't be read: {reason(error)}")
        return ""

    async def _make_consumer(self, stream: str) -> None:
        config = {
            "durable_name": self._group,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "filter_subject": self._subject,
        }
        subject = f"{self._settings.api}.CONSUMER.CREATE.{stream}.{self._group}.{self._subject}"
        try:
            await call(
                self._connection, subject, {"stream_name": stream, "config": config, "action": "create"}
            )
        except JetStreamError as error:
            if error.code != CONSUMER_EXISTS:  # as an operator has changed it
                raise

    async def _read(self, stream: str) -> None:
        """Until the connection is lost, or the stream."""
        subject = f"{self._settings.api}.CONSUMER.MSG.NEXT.{stream}.{self._group}"
        terms = PullTerms(self._settings.name, subject, 1, _EXPIRES, _MOST_BYTES, _MOST_BYTES)
        pulls = Pulls(self._connection, terms, self._received, self._ask, self._pulls_lost, self._clock)
        await pulls.start()
        self._pulls = pulls
        try:
            while not self._lost:
                self._ask()
                pulls.look()
                await deferLater(self._clock, LOOK_INTERVAL)
        finally:
            self._pulls = None
            pulls.stop()

    def _ask(self) -> None:
        if self._pulls is not None and not self._pulls.requested and not self._waiting:
            self._pulls.ask(1)

    def _pulls_lost(self, why: str) -> None:
        self._lost = why

    def _received(self, message: Message) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._say("too many advisories at once: some were left out")
            return
        self._waiting.append(message)
        if self._working.called:
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addErrback(lambda failure: failure.trap(CancelledError))

    async def _work(self) -> None:
        while self._waiting:
            message = self._waiting[0]
            try:
                await self._given_up.handle(message.data)
            except CancelledError:
                raise
            except Exception as error:
                self._say(f"an advisory can't be understood: {describe(error)}")
            self._waiting.popleft()
            if message.reply:
                self._connection.respond(message.reply, ACK)
        self._ask()

    def _say(self, text: str) -> None:
        """Log a line, once in the life of the node."""
        if self._said.first(text):
            _log.warn("{trigger}: {text}", trigger=self._settings.name, text=text)
