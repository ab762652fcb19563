"""What a task plugin is called with: a task of the list, or a message."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from scfd.events.event import TriggerEvent
from scfd.events.wire import from_json, to_json

_HEADER = "header."


@frozen
class Task(Mapping[str, Any]):
    """
    A task that is due. It can't be changed.

    It is a mapping of all that the control plane sent: ``task["symbol"]`` is a field that only newer
    control planes send.

    :ivar interval: the one that is due, such as ``1m``; None for a task that has no ``intervals``.
    :ivar params: the JSON value of ``task_params``, the caller's own; ``{}`` where that is empty.
    """

    _fields: Mapping[str, Any]
    interval: str | None = None
    params: Any = field()

    @params.default
    def _read_params(self) -> Any:
        """:raises ValueError: when they are not JSON."""
        given = self._fields.get("task_params")
        try:
            if not isinstance(given, str):
                return {} if given is None else from_json(to_json(given))
            return from_json(given.encode()) if given.strip() else {}
        except ValueError as error:
            raise ValueError(f"task_params is not JSON: {error}") from None

    @property
    def task_id(self) -> str:
        """As the control plane named it."""
        return self._fields["task_id"]  # type: ignore[no-any-return]

    @property
    def id(self) -> int:
        """Its number at the control plane; 0 where there is none."""
        return self._fields.get("id", 0)  # type: ignore[no-any-return]

    @property
    def rule_id(self) -> str:
        """The rule that made it; may be empty."""
        return self._fields.get("rule_id", "")  # type: ignore[no-any-return]

    @property
    def planned_exec_node(self) -> str:
        """The node that is to run it; may be empty."""
        return self._fields.get("planned_exec_node", "")  # type: ignore[no-any-return]

    @property
    def task_params(self) -> str:
        """The text that `params` was read from."""
        return self._fields.get("task_params", "")  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        value = self._fields[name]
        # Tasks of all events are the same objects.
        return deepcopy(value) if isinstance(value, (dict, list)) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def to_dict(self) -> dict[str, Any]:
        """As a plugin behind HTTP gets it."""
        own = {"params": self.params}
        return (
            {**self._fields, **own}
            if self.interval is None
            else {**self._fields, **own, "interval": self.interval}
        )


@frozen
class Message:
    """
    A message of a stream.

    :ivar data: its JSON value; its text when that is not JSON; bytes when they are not UTF-8.
    :ivar subject: where it was published.
    :ivar headers: its headers, by the names that the publisher wrote.
    :ivar stream: the stream that holds it.
    :ivar sequence: its number in the stream.
    :ivar delivered: which delivery this is; 1 is the first.
    :ivar timestamp: when the stream stored it, RFC 3339 in UTC.
    """

    data: Any
    subject: str = ""
    headers: Mapping[str, str] = field(factory=dict)
    stream: str = ""
    sequence: int = 0
    delivered: int = 1
    timestamp: str = ""

    @classmethod
    def of(cls, event: TriggerEvent) -> Message:
        """The message that an event was made of."""
        known, data = event.metadata, event.payload
        if known.get("payload_encoding") == "base64":
            data = base64.b64decode(data)
        headers = {name[len(_HEADER) :]: text for name, text in known.items() if name.startswith(_HEADER)}
        return cls(
            data,
            known.get("subject", ""),
            MappingProxyType(headers),
            known.get("stream", ""),
            int(known.get("stream_sequence", 0)),
            int(known.get("num_delivered", 1)),
            known.get("nats_timestamp", ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """As a plugin behind HTTP gets it: bytes are base64 text, and ``encoding`` says so."""
        is_bytes = isinstance(self.data, bytes)
        return {
            "data": base64.b64encode(self.data).decode() if is_bytes else self.data,
            **({"encoding": "base64"} if is_bytes else {}),
            "subject": self.subject,
            "headers": dict(self.headers),
            "stream": self.stream,
            "sequence": self.sequence,
            "delivered": self.delivered,
            "timestamp": self.timestamp,
        }


def due(event: TriggerEvent) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """
    What a task plugin is called for at a timer event: each job that is due, and each valid task that has no
    ``intervals``.

    :returns: tasks as the control plane sent them, with the interval of a job.
    """
    snapshot = event.snapshot
    if event.intervals:
        for interval, index in snapshot.jobs or ():
            if interval in event.intervals:
                yield snapshot.tasks[index], interval
    for index in snapshot.unscheduled:
        yield snapshot.tasks[index], None
