"""A delivered message, and the event it is for the plugin."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from scfd.config import NatsSettings
from scfd.events.event import TriggerEvent
from scfd.events.tasks import EMPTY_SNAPSHOT, TaskSnapshot
from scfd.events.trace import traceparent
from scfd.events.wire import from_json, rfc3339
from scfd.triggers.nats.client import Message

#: How many parts the reply subject of a message has without a domain:
#: ``$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>``;
#: with one there are two more after ``$JS.ACK``, and perhaps one at the end (ADR-15).
_PARTS_WITHOUT_DOMAIN = 9

_set = object.__setattr__


class Delivery:
    """
    One delivery of one message.

    :ivar reply: where it is acknowledged.
    :ivar key: the same for all deliveries of a message, and for no other message.
    :ivar delivered: which delivery this is; 1 is the first.
    :ivar number: how many deliveries its consumer has made with this one.
    :ivar limit: how many deliveries the message has; -1 is any number.
    :ivar binding: see `scfd.triggers.nats.acknowledged.Acknowledged`.
    :ivar ids: what log lines about it name besides, once its event has failed; see `scfd.events.trace.ids`.
    :ivar extended: whether it has been here long enough for its deadline to be extended.
    """

    __slots__ = (
        "_at",
        "_parts",
        "binding",
        "delivered",
        "extended",
        "ids",
        "key",
        "limit",
        "message",
        "number",
        "reply",
    )

    def __init__(self, message: Message, limit: int = -1) -> None:
        """:raises ValueError: the message is no delivery; IndexError likewise."""
        self.limit = limit
        self.message = message
        self.reply = message.reply
        self._parts = parts = message.reply.split(".")
        self._at = at = 2 if len(parts) == _PARTS_WITHOUT_DOMAIN else 4
        self.delivered = int(parts[at + 2])
        self.number = int(parts[at + 4])
        # A stream that was deleted and made again counts from 1 again; its messages have other times.
        self.key = f"{parts[at + 3]}.{parts[at + 5]}"
        self.extended = False
        self.binding = 0
        self.ids: dict[str, Any] = {}

    @property
    def stream(self) -> str:
        """The stream that holds the message."""
        return self._parts[self._at]

    @property
    def sequence(self) -> int:
        """The message's number in its stream."""
        return int(self._parts[self._at + 3])

    @property
    def about(self) -> dict[str, Any]:
        """What log lines name of it: where it is, and `ids`."""
        return {"stream": self.stream, "sequence": self.sequence, **self.ids}

    @property
    def size(self) -> int:
        """Bytes that the message takes here, about."""
        message = self.message
        headers = sum(len(name) + len(value) for name, value in (message.headers or {}).items())
        return len(message.subject) + len(message.data) + headers

    @property
    def stored(self) -> datetime:
        """When the stream stored the message."""
        nanoseconds = int(self._parts[self._at + 5])
        return datetime.fromtimestamp(nanoseconds / 1_000_000_000, timezone.utc)

    def replaced_by(self, again: Delivery) -> None:
        """The server has delivered the message once more: that delivery is the one to acknowledge."""
        self.reply, self.delivered = again.reply, again.delivered


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


class MessageEvent(TriggerEvent):
    """
    The event of a message. Payload and metadata are made when somebody reads them: that takes longer
    than all the rest of a message's way through the node.
    """

    __slots__ = ("_delivery", "_node", "_settings")

    _delivery: Delivery
    _node: Mapping[str, str]
    _settings: NatsSettings

    @classmethod
    def of(cls, settings: NatsSettings, delivery: Delivery) -> MessageEvent:
        """The event of one delivery to a trigger."""
        event = cls.__new__(cls)
        _set(event, "name", settings.name)
        _set(event, "_settings", settings)
        _set(event, "_delivery", delivery)
        return event

    def at_node(self, metadata: Mapping[str, str], snapshot: TaskSnapshot) -> MessageEvent:
        """See `TriggerEvent.at_node`."""
        _set(self, "_node", metadata)
        _set(self, "snapshot", snapshot)
        return self

    def describe(self) -> str:
        """See `TriggerEvent.describe`."""
        delivery = self._delivery
        limit = f" of {delivery.limit}" if delivery.limit > 0 else ""
        return (
            f"message {delivery.sequence} of stream {delivery.stream} (subject {delivery.message.subject}), "
            f"delivery {delivery.delivered}{limit},"
        )

    def __getattr__(self, name: str) -> Any:
        # Only asked for what has not been set yet.
        if name in ("_payload", "payload_json", "metadata"):
            self._read()
        elif name in ("type", "snapshot", "timeout", "beside", "jobs_json", "intervals", "_node"):
            _set(self, "type", "nats")
            _set(self, "timeout", self._settings.timeout)
            _set(self, "beside", self._settings.tasks)
            _set(self, "jobs_json", ())
            _set(self, "intervals", None)
            if name == "snapshot":
                _set(self, "snapshot", EMPTY_SNAPSHOT)
            elif name == "_node":
                _set(self, "_node", {})
        else:
            raise AttributeError(name)
        return getattr(self, name)

    def _read(self) -> None:
        delivery = self._delivery
        payload, encoded, metadata = message_payload(delivery.message.data)
        metadata.update(
            subject=delivery.message.subject,
            stream=delivery.stream,
            stream_sequence=str(delivery.sequence),
            num_delivered=str(delivery.delivered),
            nats_timestamp=rfc3339(delivery.stored),
        )
        headers = delivery.message.headers or {}
        metadata.update((f"header.{header}", value) for header, value in headers.items())
        metadata.update(self._node)
        if self._node:
            # The same trace for all deliveries of a message, at whichever node.
            own = f"{delivery.stream} {delivery.key}".encode()
            trace = hashlib.md5(own, usedforsecurity=False).hexdigest()
            metadata["traceparent"] = traceparent(metadata, trace)
        _set(self, "_payload", payload)
        _set(self, "payload_json", encoded)
        _set(self, "metadata", metadata)
