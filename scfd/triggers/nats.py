"""NATS triggers: messages of a JetStream consumer that become events, acknowledged after the work."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, ServiceUnavailableError
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from scfd.availability import Availability
from scfd.bridge import from_asyncio, to_asyncio
from scfd.config import NatsTrigger as Settings
from scfd.errors import describe
from scfd.interfaces import ITrigger
from scfd.metrics import Metrics
from scfd.model import TriggerEvent
from scfd.readiness import Readiness
from scfd.wire import from_json, rfc3339

_log = Logger(namespace="scfd.nats")

T = TypeVar("T")

#: Seconds between two tries to reach a server, or to bind to a consumer.
RETRY_PAUSE = 2.0
#: Seconds before a failed message comes again; doubled with each delivery, up to the longest.
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
#: Seconds for an answer of the server to one request.
REQUEST_TIMEOUT = 5.0


def message_payload(data: bytes) -> tuple[Any, bytes | None, dict[str, str]]:
    """
    What a message's bytes become in an event.

    :returns: the JSON value, or the text, or the base64 text of bytes that are not UTF-8; the JSON
        of it where the message itself is that; and metadata that says so.
    """
    try:
        return from_json(data), data, {}
    except ValueError:
        pass
    try:
        return data.decode("utf-8"), None, {}
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), None, {"payload_encoding": "base64"}


def message_event(trigger: str, message: Msg) -> TriggerEvent:
    """The event that a JetStream message is for the plugin."""
    payload, encoded, metadata = message_payload(message.data)
    delivery = message.metadata
    metadata.update(
        subject=message.subject,
        stream=delivery.stream,
        stream_sequence=str(delivery.sequence.stream),
        num_delivered=str(delivery.num_delivered),
        nats_timestamp=rfc3339(delivery.timestamp),
    )
    metadata.update((f"header.{name}", value) for name, value in (message.headers or {}).items())
    return TriggerEvent("nats", trigger, payload, metadata, payload_json=encoded)


def redelivery_delay(delivered: int) -> float:
    """Seconds until a failed message comes again: without a pause it would use up its deliveries at once."""
    return min(FIRST_DELAY * 2.0 ** min(delivered - 1, 30), LONGEST_DELAY)


def _reason(error: Exception) -> str:
    """What went wrong, as one line for a person; the client's own texts name codes that are not there."""
    if isinstance(error, ServiceUnavailableError):
        return "the server has no JetStream, or the stream or consumer is gone"
    if isinstance(error, APIError):
        return f"the server refuses: {error.description} (error {error.err_code})"
    return describe(error)


@implementer(ITrigger)
class NatsTrigger(Service):
    """
    One durable pull consumer. Messages are handled one at a time, in order.

    Neither a server that is not there nor a stream that is missing ends it: it says so, is not
    ready, and tries on.

    :param dispatch: see `ITrigger`.
    """

    def __init__(
        self,
        settings: Settings,
        dispatch: Callable[[TriggerEvent], Deferred[None]],
        metrics: Metrics,
        readiness: Readiness,
        availability: Availability,
    ) -> None:
        self._trigger = settings.name
        self._settings = settings
        self._dispatch = dispatch
        self._metrics = metrics
        self._readiness = readiness
        self._availability = availability
        self._component = f"nats trigger {settings.name}"
        self._running: Deferred[None] | None = None
        self._waiting: asyncio.Future[Any] | None = None
        self._draining = self._closing = False

    def startService(self) -> None:
        super().startService()
        self._not_well("not connected yet", log=False)
        self._running = from_asyncio(self._run())
        self._running.addErrback(
            lambda failure: _log.failure("{trigger}: ended", failure, trigger=self._trigger)
        )

    def drain(self) -> Deferred[None]:
        """Fetch no more, finish the message under way, give the rest back: see `IDrainable`."""
        self._draining = True
        if self._waiting is not None:
            self._waiting.cancel()
        finished: Deferred[None] = Deferred()
        if self._running is None:
            finished.callback(None)
        else:
            self._running.addCallback(finished.callback)
        return finished

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        return self._running

    async def _run(self) -> None:
        while not self._draining:
            connection: Client | None = None
            try:
                connection = await self._wait(self._connect())
                await self._consume(connection.jetstream())
            except asyncio.CancelledError:
                if not self._draining:
                    raise
            except Exception as error:
                self._not_well(_reason(error))
                with suppress(asyncio.CancelledError):
                    await self._wait(asyncio.sleep(RETRY_PAUSE))
            finally:
                if connection is not None:
                    await self._close(connection)

    async def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        """Do something that a drain may interrupt: until the server, a message or a moment comes."""
        waiting: asyncio.Future[T] = asyncio.ensure_future(step)
        self._waiting = waiting
        try:
            return await waiting
        finally:
            self._waiting = None

    async def _connect(self) -> Client:
        """Connect, however long it takes; after that the client reconnects by itself."""
        self._closing = False
        return await nats.connect(
            servers=[server.strip() for server in self._settings.url.split(",")],
            name=f"scfd {self._trigger}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=RETRY_PAUSE,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
        )

    async def _close(self, connection: Client) -> None:
        self._closing = True
        try:
            if connection.is_connected:
                await connection.flush(timeout=1)  # the last acks
            await asyncio.wait_for(connection.close(), REQUEST_TIMEOUT)
        except Exception as error:
            _log.debug("{trigger}: closing: {error}", trigger=self._trigger, error=describe(error))

    async def _consume(self, jetstream: JetStreamContext) -> None:
        settings = self._settings
        await jetstream.add_consumer(
            settings.stream,
            ConsumerConfig(
                durable_name=settings.consumer_name,
                filter_subject=settings.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=settings.ack_wait,
                max_deliver=settings.max_deliver,
                deliver_policy=DeliverPolicy.NEW,
            ),
            timeout=REQUEST_TIMEOUT,
        )
        subscription = await jetstream.pull_subscribe_bind(settings.consumer_name, settings.stream)
        self._well()
        while not self._draining:
            await self._handle_all(await self._wait(self._fetch(subscription)))

    async def _handle_all(self, messages: list[Msg]) -> None:
        """Handle a batch in order. What the end of the node interrupts is given back at once."""
        beating = asyncio.ensure_future(self._keep(messages))
        try:
            while messages:
                await self._handle(messages[0])
                messages.pop(0)
        except asyncio.CancelledError:
            for message in messages:
                await message.nak()
            raise
        finally:
            beating.cancel()

    async def _keep(self, messages: list[Msg]) -> None:
        """Tell the server that a batch is being worked on, or it would deliver the last ones again."""
        while True:
            await asyncio.sleep(self._settings.ack_wait / 3)
            try:
                for message in messages:
                    await message.in_progress()
            except Exception as error:
                _log.debug("{trigger}: {error}", trigger=self._trigger, error=describe(error))

    async def _fetch(self, subscription: JetStreamContext.PullSubscription) -> list[Msg]:
        try:
            return await subscription.fetch(self._settings.batch_size, timeout=self._settings.fetch_max_wait)
        except (asyncio.TimeoutError, nats.errors.TimeoutError):
            return []

    async def _handle(self, message: Msg) -> None:
        if self._draining:
            await message.nak()
            return
        try:
            await to_asyncio(self._dispatch(message_event(self._trigger, message)))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # What the dispatcher was given, it has logged.
            _log.debug("{trigger}: {error}", trigger=self._trigger, error=describe(error))
            await message.nak(delay=redelivery_delay(message.metadata.num_delivered))
            self._metrics.messages.labels(self._trigger, "nak").inc()
        else:
            await message.ack()
            self._metrics.messages.labels(self._trigger, "ack").inc()

    async def _on_error(self, error: Exception) -> None:
        self._not_well(_reason(error))

    async def _on_disconnected(self) -> None:
        if not self._draining and not self._closing:
            self._not_well("disconnected")

    async def _on_reconnected(self) -> None:
        self._well()

    def _well(self) -> None:
        self._readiness.well(self._component)
        _log.info(
            "{trigger}: consuming {subject} of stream {stream} as {consumer}",
            trigger=self._trigger,
            subject=self._settings.subject,
            stream=self._settings.stream,
            consumer=self._settings.consumer_name,
        )

    def _not_well(self, reason: str, log: bool = True) -> None:
        said = any(
            problem.component == self._component and problem.reason == reason
            for problem in self._readiness.problems()
        )
        self._readiness.problem(self._component, reason)
        if log and not said:
            _log.warn("{trigger}: {reason}", trigger=self._trigger, reason=reason)
