"""How far a consumer is behind, and whether it is stuck."""

from __future__ import annotations

from scfd.config import NatsSettings
from scfd.status.metrics import Metrics
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer import Binding
from scfd.triggers.nats.jetstream import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, JetStreamError, call


class Lag:
    """Asks the server now and then how many messages the consumer has still before it."""

    def __init__(
        self, settings: NatsSettings, connection: Connection, binding: Binding, metrics: Metrics
    ) -> None:
        self._subject = f"CONSUMER.INFO.{settings.stream}.{settings.consumer_name}"
        self._connection = connection
        self._binding = binding
        self._pending = metrics.nats_pending.labels(settings.name)
        self._ack_pending = metrics.nats_ack_pending.labels(settings.name)
        self._arrived_before = -1

    async def look(self, arrived: int, expecting: bool) -> str | None:
        """
        Ask the server.

        :param arrived: how many messages have come so far.
        :param expecting: whether more are asked for.
        :returns: why the consumer has to be bound anew, or None: it is gone, or it has messages for
            us and has sent none since the last look.
        :raises Exception: there was no answer; see `scfd.triggers.nats.jetstream.reason`.
        """
        try:
            info = await call(self._connection, self._subject)
        except JetStreamError as error:
            if error.code in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
                return f"the consumer is gone: {error}"
            raise
        self._binding.note(info)
        self._pending.set(info["num_pending"])
        self._ack_pending.set(info["num_ack_pending"])
        limit = info["config"].get("max_ack_pending", 0)
        # With that many messages out, at whatever nodes, the server gives nobody any more.
        due = expecting and info["num_pending"] and (limit <= 0 or info["num_ack_pending"] < limit)
        stuck = due and arrived == self._arrived_before
        self._arrived_before = arrived if due else -1
        return f"{info['num_pending']} messages are due and none comes" if stuck else None
