"""The durable consumer of a trigger: made, updated, and watched for messages that pile up or get stuck."""

from __future__ import annotations

from typing import Any

from scfd.config import NatsSettings
from scfd.status.metrics import Metrics
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.jetstream import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, BindError, JetStreamError, call

_NANO = 1_000_000_000
#: The server's default for ``max_ack_pending``. All nodes of a consumer share it.
USUAL_MAX_ACK_PENDING = 1000
#: Full batches that may wait in a node while the handler is quick. With batches of 10, 2 gave 65,000
#: messages/s, 8 gave 115,000, 32 gave 155,000; two batches of 500 gave 170,000.
BATCHES_AHEAD = 32
#: Upper limit of the messages that may wait in a node, whatever ``batch_size`` is.
MOST_AHEAD = 1000


def wanted(settings: NatsSettings) -> dict[str, Any]:
    """The settings that the consumer must have, under their JetStream names."""
    return {
        "durable_name": settings.consumer_name,
        "ack_policy": "explicit",
        "ack_wait": round(settings.ack_wait * _NANO),
        "max_deliver": settings.max_deliver,
        "filter_subject": settings.subject,
    }


def most_held(settings: NatsSettings) -> int:
    """How many messages one node holds at most: running and waiting."""
    return settings.concurrency + most_ahead(settings)


def most_ahead(settings: NatsSettings) -> int:
    """How many messages may wait in one node at most; slow handlers have fewer, see `Deliveries.ahead`."""
    return max(min(BATCHES_AHEAD * settings.batch_size, MOST_AHEAD), settings.concurrency)


class Consumer:
    """
    The durable pull consumer of one trigger.

    :ivar floor: the last known ``ack_floor``: all messages up to this stream sequence are acknowledged.
        None until the consumer has been seen.
    :ivar rebinds: counts how often it was bound again.
    """

    def __init__(self, connection: Connection, settings: NatsSettings, metrics: Metrics) -> None:
        self._connection = connection
        self._settings = settings
        self._created = ""
        self._pending = metrics.nats_pending.labels(settings.name)
        self._ack_pending = metrics.nats_ack_pending.labels(settings.name)
        self._arrived_before = -1
        self.floor: int | None = None
        self.rebinds = metrics.nats_rebinds.labels(settings.name)

    async def bind(self) -> None:
        """
        Make the consumer, or update it where it differs. Settings that scfd does not know stay as they are.

        :raises BindError: the stream is missing, or the server refuses the consumer.
        :raises Exception: no response from the server; see `scfd.triggers.nats.jetstream.reason`.
        """
        settings = self._settings
        stream = await self._stream()
        if stream["created"] != self._created and self.floor is not None:
            # The stream was deleted and made again: all its messages are new to this node.
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
        self._note(info)

    async def look(self, arrived: int, expecting: bool) -> str | None:
        """
        Ask the server how many messages are waiting, and find out whether the consumer is stuck.

        :param arrived: how many messages have arrived so far.
        :param expecting: whether pull requests are open.
        :returns: why the consumer has to be bound again, or None. It has to be when it is gone, or when
            it has messages for this node and has sent none since the last look.
        :raises Exception: no response from the server; see `scfd.triggers.nats.jetstream.reason`.
        """
        settings = self._settings
        try:
            info = await call(self._connection, f"CONSUMER.INFO.{settings.stream}.{settings.consumer_name}")
        except JetStreamError as error:
            if error.code in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
                return f"the consumer is gone: {error}"
            raise
        self._note(info)
        limit = info["config"].get("max_ack_pending", 0)
        # At max_ack_pending, counted over all nodes, the server sends no node anything more.
        due = expecting and info["num_pending"] and (limit <= 0 or info["num_ack_pending"] < limit)
        stuck = due and arrived == self._arrived_before
        self._arrived_before = arrived if due else -1
        return f"{info['num_pending']} messages are due and none arrives" if stuck else None

    def _note(self, info: dict[str, Any]) -> None:
        self.floor = int(info["ack_floor"]["stream_seq"])
        self._pending.set(info["num_pending"])
        self._ack_pending.set(info["num_ack_pending"])

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
        """Where a new consumer begins. One that replaces a deleted one continues where that one was."""
        # Room for ten nodes that hold as much as they may.
        pending = {"max_ack_pending": max(USUAL_MAX_ACK_PENDING, 10 * most_held(self._settings))}
        if self.floor is None:
            return {**pending, "deliver_policy": "new"}
        return {**pending, "deliver_policy": "by_start_sequence", "opt_start_seq": self.floor + 1}

    async def _update(self, info: dict[str, Any]) -> dict[str, Any]:
        """:returns: the consumer's info after the update."""
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
        :param others: settings besides the wanted ones.
        :param actual: the consumer's present settings; empty when there is none.
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
