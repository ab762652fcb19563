"""The values that travel through a node: an event in, its results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from enum import IntEnum
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from scfd.events.tasks import EMPTY_SNAPSHOT, TaskSnapshot
from scfd.events.trace import traceparent
from scfd.events.wire import to_json


class TaskStatus(IntEnum):
    """What a task result's ``status`` says."""

    PENDING = 0
    RUNNING = 1
    SUCCESS = 2
    PARTLY_FAILED = 3
    FAILED = 4


@frozen
class TaskResult:
    """What became of one task in one event.

    :ivar task_id: as the control plane named it; never empty.
    :ivar status: a `TaskStatus`; other integers are passed on as they are.
    :ivar result: free text, by custom empty on success and the reason otherwise.
    """

    task_id: str
    status: int
    result: str = ""

    def is_usable(self) -> bool:
        """Whether a control plane can take it: a ``task_id``, an integer ``status``, a text."""
        return (
            isinstance(self.task_id, str)
            and bool(self.task_id)
            and isinstance(self.status, int)
            and not isinstance(self.status, bool)
            and isinstance(self.result, str)
            and abs(self.status) < 2**63  # more than any receiver holds, and than the outbox can keep
        )


def _as_tuple(results: Iterable[TaskResult]) -> tuple[TaskResult, ...]:
    if not isinstance(results, Iterable) or isinstance(results, (str, bytes, Mapping)):
        raise TypeError(
            f"task_results: found {type(results).__name__}; "
            "expected a list, such as [TaskResult(task_id, TaskStatus.SUCCESS, 'a text')]"
        )
    return tuple(results)


@frozen
class TriggerResponse:
    """A plugin's response to an event.

    :ivar unstored: data points in the response of a plugin behind HTTP (``data_points`` and
        ``write_groups``). The node has no storage to write them to: they are counted, and dropped.
    """

    task_results: tuple[TaskResult, ...] = field(default=(), converter=_as_tuple)
    unstored: int = 0


@frozen
class Later:
    """A payload that is made when somebody asks for it: 100,000 jobs as dicts take 30 ms."""

    make: Callable[[], Any]


@frozen
class TriggerEvent:
    """Something happened, and the plugin is to act on it.

    Triggers fill in what they know; the dispatcher adds the node's metadata and the task snapshot.

    :ivar type: ``"timer"`` or ``"nats"``.
    :ivar name: the trigger's name in the config.
    :ivar payload: timer: ``{"tasks": […], "tasks_md5": "…"}``, with ``"jobs": […]`` where tasks have
        intervals; NATS: the message as its JSON value, as text, or as base64 text.
    :ivar metadata: strings to strings.
    :ivar snapshot: the task list at the moment of the event.
    :ivar payload_json: ``payload`` as JSON where somebody has it already, whole or in parts: a task list
        among these is neither encoded nor copied for an event.
    :ivar timeout: seconds that the plugin may take, where the trigger says so.
    :ivar beside: what of the task list an HTTP plugin gets beside the payload of an event that is no
        timer's: the ``snapshot``, its ``digest``, or ``none`` of it.
    :ivar jobs_json: the jobs of a timer's payload as JSON, without the brackets, in parts; empty when none
        is due.
    :ivar intervals: those of tasks that are due at a timer's moment; None when no task has any.
    """

    type: str
    name: str
    _payload: Any = None
    metadata: Mapping[str, str] = field(factory=dict)
    snapshot: TaskSnapshot = EMPTY_SNAPSHOT
    payload_json: bytes | tuple[bytes, ...] | None = field(default=None, eq=False, repr=False)
    timeout: float | None = field(default=None, eq=False)
    beside: str = field(default="snapshot", eq=False)
    jobs_json: tuple[bytes, ...] = field(default=(), eq=False, repr=False)
    intervals: frozenset[str] | None = field(default=None, eq=False, repr=False)

    @property
    def payload(self) -> Any:
        """See above; made at each use where it is a `Later`."""
        return self._payload.make() if isinstance(self._payload, Later) else self._payload

    @property
    def tasks(self) -> tuple[Mapping[str, Any], ...]:
        """Every task instance of the snapshot, the invalid ones included."""
        return self.snapshot.tasks

    @property
    def tasks_md5(self) -> str:
        """The digest of the snapshot."""
        return self.snapshot.md5

    def describe(self) -> str:
        """What a log line calls the event, behind its trigger's name."""
        return "the event"

    @property
    def traceparent(self) -> str:
        """The event's W3C trace context; empty before the dispatcher has made one."""
        return self.metadata.get("traceparent", "")

    def at_node(self, metadata: Mapping[str, str], snapshot: TaskSnapshot) -> TriggerEvent:
        """
        The event with what the node has to add to it, and in a trace.

        :param snapshot: for an event that has none of its own.
        """
        return TriggerEvent(
            self.type,
            self.name,
            self._payload,
            {**self.metadata, **metadata, "traceparent": traceparent(self.metadata)},
            snapshot if self.snapshot is EMPTY_SNAPSHOT else self.snapshot,
            self.payload_json,
            self.timeout,
            self.beside,
            self.jobs_json,
            self.intervals,
        )

    def brief(self) -> dict[str, Any]:
        """What goes with a task or a message to a plugin behind HTTP: no payload and no task list."""
        return {"type": self.type, "name": self.name, "metadata": self.metadata}

    def to_json_parts(self, both: bool = False) -> list[bytes]:
        """
        The event as an HTTP plugin gets it, in parts: a task list of a MiB is best not copied.

        :param both: whether a timer event has its tasks and jobs at the top level as well as in ``payload``.
        """
        given = to_json(self.payload) if self.payload_json is None else self.payload_json
        payload = (given,) if isinstance(given, bytes) else given
        parts = [_beginning(self.type, self.name), *payload, b',"metadata":', to_json(self.metadata)]
        beside = self.beside if self.type != "timer" else "snapshot" if both else "none"
        if beside == "snapshot":
            parts += [b',"tasks":', self.snapshot.json]
        if beside != "none":
            parts.append(b',"tasks_md5":"%b"' % self.tasks_md5.encode())
        if both and self.jobs_json:
            parts += [b',"jobs":[', *self.jobs_json, b"]"]
        parts.append(b"}")
        return parts

    def to_json(self) -> bytes:
        """The same as one value."""
        return b"".join(self.to_json_parts())


@lru_cache(maxsize=10_000)  # as many triggers have been seen in one node
def _beginning(type: str, name: str) -> bytes:
    return b'{"type":%b,"name":%b,"payload":' % (to_json(type), to_json(name))


#: Set while a native plugin is called. Its coroutines, and its threads, keep it.
current_event: ContextVar[TriggerEvent | None] = ContextVar("scfd_event", default=None)
