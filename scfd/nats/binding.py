"""The durable consumer of a trigger: made, or brought up to date."""

from __future__ import annotations

from typing import Any

from scfd.config import NatsTrigger
from scfd.nats.connection import Connection
from scfd.nats.jetstream import CONSUMER_NOT_FOUND, STREAM_NOT_FOUND, BindError, JetStreamError, call

_NANO = 1_000_000_000
#: What the server takes for ``max_ack_pending`` when nobody says anything else. All nodes share it.
USUAL_MAX_ACK_PENDING = 1000


def wanted(settings: NatsTrigger) -> dict[str, Any]:
    """The settings that the consumer must have, as JetStream calls them."""
    return {
        "durable_name": settings.consumer_name,
        "ack_policy": "explicit",
        "ack_wait": round(settings.ack_wait * _NANO),
        "max_deliver": settings.max_deliver,
        "filter_subject": settings.subject,
    }


def most_held(settings: NatsTrigger) -> int:
    """How many messages one node has at most: in work, and waiting for their turn."""
    return settings.concurrency + most_ahead(settings)


def most_ahead(settings: NatsTrigger) -> int:
    """How many messages may wait in a node while those before them are handled."""
    return max(2 * settings.batch_size, settings.concurrency)


async def bind(connection: Connection, settings: NatsTrigger) -> None:
    """
    Make the consumer, or update it where it differs; what others have set besides is left alone.

    :raises BindError: the stream is missing, or the server refuses.
    :raises Exception: the server does not answer; see `scfd.nats.jetstream.reason`.
    """
    try:
        info = await call(connection, f"CONSUMER.INFO.{settings.stream}.{settings.consumer_name}")
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            await _make_stream(connection, settings)
        elif error.code != CONSUMER_NOT_FOUND:
            raise
        # Ten nodes can have all that they hold at the same time.
        pending = max(USUAL_MAX_ACK_PENDING, 10 * most_held(settings))
        await _make(connection, settings, {"deliver_policy": "new", "max_ack_pending": pending}, {})
        return
    actual = info["config"]
    if actual.get("deliver_subject"):
        raise BindError(
            f"consumer {settings.consumer_name} of stream {settings.stream} is a push consumer; "
            "scfd needs a pull consumer: choose another consumer_name, or delete it"
        )
    if 0 < actual.get("max_ack_pending", 0) < most_held(settings):
        actual = {**actual, "max_ack_pending": USUAL_MAX_ACK_PENDING + most_held(settings)}
        await _make(connection, settings, actual, info["config"])
    elif any(actual.get(name) != value for name, value in wanted(settings).items()):
        await _make(connection, settings, actual, actual)


async def _make(
    connection: Connection, settings: NatsTrigger, others: dict[str, Any], actual: dict[str, Any]
) -> None:
    """
    :param others: what the consumer has besides what is wanted.
    :param actual: as it is now; empty when there is none.
    """
    name = f"{settings.stream}.{settings.consumer_name}.{settings.subject}"
    others = {name: value for name, value in others.items() if name != "filter_subjects"}
    config = {**others, **wanted(settings)}
    body = {"stream_name": settings.stream, "config": config}
    try:
        await call(connection, f"CONSUMER.CREATE.{name}", body)
    except JetStreamError as error:
        raise BindError(_refused(settings, actual, error)) from None


def _refused(settings: NatsTrigger, actual: dict[str, Any], error: JetStreamError) -> str:
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


async def _make_stream(connection: Connection, settings: NatsTrigger) -> None:
    if not settings.create_stream:
        raise BindError(
            f"there is no stream {settings.stream}; make it, or let the node make it with create_stream: true"
        )
    body = {"name": settings.stream, "subjects": [settings.subject], "storage": "file", "num_replicas": 1}
    try:
        await call(connection, f"STREAM.CREATE.{settings.stream}", body)
    except JetStreamError as error:
        raise BindError(f"stream {settings.stream} can't be made: {error}") from None
