"""A stream of the JetStream in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from scfd.config.nats import subject_matches
from scfd.events.wire import from_json, rfc3339

#: Seconds in which a ``Nats-Msg-Id`` is known again; nats-server's default.
DUPLICATES_WINDOW = 120.0


@frozen
class StoredMessage:
    """
    A message in a stream.

    :ivar sequence: its number in the stream; counts from 1.
    :ivar stored: when the stream took it, seconds since the epoch.
    """

    stream: str
    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    stored: float

    @property
    def json(self) -> Any:
        """The data as a JSON value."""
        return from_json(self.data)


@define
class Stream:
    """
    Messages in the order in which they came.

    :ivar config: as JetStream's API has it: name, subjects, retention.
    """

    config: dict[str, Any]
    created: float
    messages: dict[int, StoredMessage] = field(factory=dict)
    last: int = 0
    _ids: dict[str, tuple[int, float]] = field(factory=dict)

    @property
    def name(self) -> str:
        return str(self.config["name"])

    def takes(self, subject: str) -> bool:
        """Whether messages with a subject come here."""
        return any(subject_matches(pattern, subject) for pattern in self.config["subjects"])

    def add(self, subject: str, data: bytes, headers: Mapping[str, str], now: float) -> tuple[int, bool]:
        """:returns: the message's sequence, and whether it was there already, by its ``Nats-Msg-Id``."""
        message_id = headers.get("Nats-Msg-Id")
        if message_id is not None:
            known, since = self._ids.get(message_id, (0, 0.0))
            if known and now - since < DUPLICATES_WINDOW:
                return known, True
            self._ids[message_id] = self.last + 1, now
        self.last += 1
        self.messages[self.last] = StoredMessage(self.name, self.last, subject, data, headers, now)
        return self.last, False

    def info(self) -> dict[str, Any]:
        state = {
            "messages": len(self.messages),
            "first_seq": min(self.messages, default=self.last + 1 if self.last else 0),
            "last_seq": self.last,
        }
        return {"config": self.config, "created": rfc3339(self.created), "state": state}
