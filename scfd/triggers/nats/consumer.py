"""The durable consumer of a trigger: made, or brought up to date."""

from __future__ import annotations

from typing import Any

from scfd.config import NatsSettings
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.jetstream import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, BindError, JetStreamError, call

_NANO = 1_000_000_000
#: What the server takes for ``max_ack_pending`` when nobody says anything else. All nodes share it.
USUAL_MAX_ACK_PENDING = 1000
#: Full pull requests whose messages may wait, while the handler is quick. Of 10 messages each, 2 of them gave
#: 65,000 messages/s, 8 gave 115,000, 32 gave 155,000; two of 500 messages each 170,000.
BATCHES_AHEAD = 32
#: Messages that may wait, whatever ``batch_size`` is.
MOST_AHEAD = 1000


def wanted(settings: NatsSettings) -> dict[str, Any]:
    """The settings that the consumer must have, as JetStream calls them."""
    return {
        "durable_name": settings.consumer_name,
        "ack_policy": "explicit",
        "ack_wait": round(settings.ack_wait * _NANO),
        "max_deliver": settings.max_deliver,
        "filter_subject": settings.subject,
    }


def most_held(settings: NatsSettings) -> int:
    """How many messages one node has at most: in work, and waiting for their turn."""
    return settings.concurrency + most_ahead(settings)


def most_ahead(settings: NatsSettings) -> int:
    """How many messages may wait in a node while those before them are handled: quick ones, in any case."""
    return max(min(BATCHES_AHEAD * settings.batch_size, MOST_AHEAD), settings.concurrency)


class Binding:
    """
    The consumer of one trigger.

    :ivar floor: all messages up to this sequence are acknowledged, as far as this node knows; None as
        long as it knows of no consumer.
    """

    def __init__(self, connection: Connection, settings: NatsSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._created = ""
        self.floor: int | None = None

    async def bind(self) -> None:
        """
        Make the consumer, or update it where it differs; what others have set besides is left alone.

        :raises BindError: the stream is missing, or the server refuses.
        :raises Exception: the server does not answer; see `scfd.triggers.nats.jetstream.reason`.
        """
        settings = self._settings
        stream = await self._stream()
        if stream["created"] != self._created and self.floor is not None:
            # Made again: whatever is in it was published while this node was there to take it.
            self.floor = 0
        self._created = stream["created"]
        try:
            info = await call(self._connection, f"CONSUMER.INFO.{settings.stream}.{settings.consumer_name}")
        except JetStreamError as error:
            if error.code != CONSUMER_NOT_FOUND:
                raise
            info = await self._make(self._beginning(), {})
        else:
            info = await self._update(info)
        self.note(info)

    def note(self, info: dict[str, Any]) -> None:
        """Take to heart what the server says of the consumer."""
        self.floor = int(info["ack_floor"]["stream_seq"])

    async def _stream(self) -> dict[str, Any]:
        settings = self._settings
        try:
            return await call(self._connection, f"STREAM.INFO.{settings.stream}")
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
        if not settings.create_stream:
            raise BindError(
                f"there is no stream {settings.stream}; make it, or let the node make it with "
                "create_stream: true"
            )
        body = {"name": settings.stream, "subjects": [settings.subject], "storage": "file", "num_replicas": 1}
        try:
            return await call(self._connection, f"STREAM.CREATE.{settings.stream}", body)
        except JetStreamError as error:
            raise BindError(f"stream {settings.stream} can't be made: {error}") from None

    def _beginning(self) -> dict[str, Any]:
        """A consumer that takes the place of another must not leave out what was published in between."""
        # Ten nodes can have all that they hold at the same time.
        pending = {"max_ack_pending": max(USUAL_MAX_ACK_PENDING, 10 * most_held(self._settings))}
        if self.floor is None:
            return {**pending, "deliver_policy": "new"}
        return {**pending, "deliver_policy": "by_start_sequence", "opt_start_seq": self.floor + 1}

    async def _update(self, info: dict[str, Any]) -> dict[str, Any]:
        """:returns: what the server says of the consumer then."""
        settings, actual = self._settings, info["config"]
        if actual.get("deliver_subject"):
            raise BindError(
                f"consumer {settings.consumer_name} of stream {settings.stream} is a push consumer; "
                "scfd needs a pull consumer: choose another consumer_name, or delete it"
            )
        more = {}
        if 0 < actual.get("max_ack_pending", 0) < most_held(settings):
            more["max_ack_pending"] = USUAL_MAX_ACK_PENDING + most_held(settings)
        if not more and all(actual.get(name) == value for name, value in wanted(settings).items()):
            return info
        return await self._make({**actual, **more}, actual)

    async def _make(self, others: dict[str, Any], actual: dict[str, Any]) -> dict[str, Any]:
        """
        :param others: what the consumer is to have besides what is wanted.
        :param actual: as it is now; empty when there is none.
        """
        settings = self._settings
        name = f"{settings.stream}.{settings.consumer_name}.{settings.subject}"
        others = {name: value for name, value in others.items() if name != "filter_subjects"}
        body = {"stream_name": settings.stream, "config": {**others, **wanted(settings)}}
        try:
            return await call(self._connection, f"CONSUMER.CREATE.{name}", body)
        except JetStreamError as error:
            raise BindError(_refused(settings, actual, error)) from None


def _refused(settings: NatsSettings, actual: dict[str, Any], error: JetStreamError) -> str:
    what = f"consumer {settings.consumer_name} of stream {settings.stream}"
    if not actual:
        return f"{what} can't be made: {error}"
    differing = [
        f"{name} is {_shown(name, actual.get(name))}, wanted {_shown(name, value)}"
        for name, value in wanted(settings).items()
        if actual.get(name) != value
    ]
    return f"{what} can't be updated: {'; '.join(differing)}: {error}"


def _shown(name: str, value: Any) -> str:
    return f"{value / _NANO:g} s" if name == "ack_wait" and isinstance(value, int) else str(value or "unset")
