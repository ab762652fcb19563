"""What the development control plane knows: its tasks, the nodes, their results, the faults switched on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict, define, evolve, field, frozen
from twisted.logger import Logger

from scfd.control_plane.orders import INITIALIZING
from scfd.events.event import TaskStatus
from scfd.events.tasks import tasks_md5
from scfd.events.wire import rfc3339

#: How many task results are kept; older ones are forgotten.
RESULTS_KEPT = 1000

#: Fields of a heartbeat that have a meaning of their own; a plugin's extra fields are the others.
_HEARTBEAT_FIELDS = frozenset({"node_id", "node_type", "running_version", "metadata", "tasks_md5"})

#: Seconds that a response may be late.
MAX_SLOW = 600

_log = Logger(namespace="scfd.dev.control_plane")


def _as_tuple(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen
class Faults:
    """
    Faults that a developer has switched on, to see how a node copes.

    :ivar down: connections are closed without a response.
    :ivar slow: seconds by which responses are late; 0 is off.
    :ivar status: the HTTP status of every response, 400 to 599; 0 is off.
    :ivar package_version: the version in responses to heartbeats; empty is off.
    :ivar refuse: ids of tasks; reports of these get 404.
    :ivar initializing: no tasks have been planned yet: responses to heartbeats say so, without a list.
    :ivar unknown_nodes: no node is known; heartbeats with ``supported_collectors`` are refused then.
    """

    down: bool = False
    slow: float = 0
    status: int = 0
    package_version: str = ""
    refuse: tuple[str, ...] = field(default=(), converter=_as_tuple)
    initializing: bool = False
    unknown_nodes: bool = False

    def changed(self, changes: Mapping[str, Any]) -> Faults:
        """
        :param changes: JSON values; what it does not name stays.
        :returns: the switches after these changes.
        :raises ValueError: a name or a value is wrong; the text says what would be right.
        """
        for name, value in changes.items():
            if name not in _ACCEPTED:
                raise ValueError(f"{name}: there is no such switch; there are {', '.join(_ACCEPTED)}")
            is_accepted, expected = _ACCEPTED[name]
            if not is_accepted(value):
                raise ValueError(f"{name}: {expected} is expected")
        return evolve(self, **changes)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        """What is on, in a few words; empty when nothing is."""
        texts = [
            "down" if self.down else "",
            f"slow by {self.slow:g} s" if self.slow else "",
            f"status {self.status}" if self.status else "",
            f"version {self.package_version}" if self.package_version else "",
            f"reports of {', '.join(self.refuse)} refused" if self.refuse else "",
            "initializing" if self.initializing else "",
            "nodes are unknown" if self.unknown_nodes else "",
        ]
        return "; ".join(filter(None, texts))


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MAX_SLOW


def _is_status_or_off(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value == 0 or 400 <= value <= 599)


def _are_task_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


#: What each switch accepts, as a test and in words.
_ACCEPTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "down": (_is_switch, "true or false"),
    "slow": (_is_seconds, f"a number of seconds up to {MAX_SLOW}, or 0 for off,"),
    "status": (_is_status_or_off, "an HTTP status from 400 to 599, or 0 for off,"),
    "package_version": (lambda value: isinstance(value, str), 'a version, or "" for off,'),
    "refuse": (_are_task_ids, "a list of task ids, or [] for off,"),
    "initializing": (_is_switch, "true or false"),
    "unknown_nodes": (_is_switch, "true or false"),
}


@define
class NodeRecord:
    """
    A node as its heartbeats describe it.

    :ivar first_seen: RFC 3339, like ``last_heartbeat``.
    :ivar heartbeats: how many there were.
    :ivar extra: the fields that its plugin adds.
    :ivar handed_out: the task list it holds, as far as is known; None before it was given one.
    """

    node_id: str
    first_seen: str
    version: str = ""
    node_type: str = ""
    last_heartbeat: str = ""
    heartbeats: int = 0
    tasks_md5: str = ""
    extra: Mapping[str, Any] = field(factory=dict)
    handed_out: list[dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self, filter=lambda attribute, _: attribute.name != "handed_out")


class UnknownNodeError(Exception):
    """A node that the control plane does not know says what it can collect."""


class ControlPlaneState:
    """
    The control plane without its HTTP: values in, values out.

    :param now: the time in seconds since the epoch.
    :param kept: how many task results are kept; None is all.
    :ivar tasks: the task list, see `scfd.dev.task_file`; may be replaced at any time.
    :ivar faults: those that are switched on.
    :param node_page: where the page of the node is that runs beside it; empty when there is none.
    """

    def __init__(
        self, now: Callable[[], float], node_page: str = "", kept: int | None = RESULTS_KEPT
    ) -> None:
        self._now = now
        self._node_page = node_page
        self.tasks: Sequence[Mapping[str, Any]] = ()
        self.faults = Faults()
        self._nodes: dict[str, NodeRecord] = {}
        self._results: deque[dict[str, Any]] = deque(maxlen=kept)
        self._heartbeats = 0
        self._by_status: Counter[int] = Counter()
        self._by_task: Counter[str] = Counter()

    def heartbeat(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """
        Note that a node is there, and tell it what it is to do.

        The node gets the task list when the digest it reports is not the list's, as from a
        production server; and also when the list here has changed otherwise since it was given it,
        so that a change of ``task_params`` alone arrives at once.

        :param report: a heartbeat with ``node_id``, ``running_version``, ``node_type``, ``tasks_md5``.
        :returns: ``data[0]`` of the response: the version that the node runs, so that nothing
            restarts, unless another is switched on; the list's digest; the list, when the node is
            to take it.
        :raises UnknownNodeError: when such a node is refused.
        """
        if self.faults.unknown_nodes and "supported_collectors" in report:
            raise UnknownNodeError(f"no node {report['node_id']}: a fault that is switched on")
        node = self._note(report)
        version = self.faults.package_version or node.version
        if self.faults.initializing:
            return {"package_version": version, "tasks_md5": INITIALIZING, "task_instances": []}
        tasks = self._tasks_for(node.node_id)
        md5 = tasks_md5(tasks)
        orders: dict[str, Any] = {"package_version": version, "tasks_md5": md5}
        if node.tasks_md5 != md5 or (node.handed_out is not None and node.handed_out != tasks):
            orders["task_instances"] = tasks
            _log.info(
                "{count} {noun} handed out to {node_id}",
                count=len(tasks),
                noun="task" if len(tasks) == 1 else "tasks",
                node_id=node.node_id,
            )
        node.handed_out = tasks
        return orders

    def _note(self, report: Mapping[str, Any]) -> NodeRecord:
        node_id = report["node_id"]
        now = rfc3339(self._now())
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = NodeRecord(node_id, first_seen=now)
            _log.info(
                "node {node_id} reports in: version {version}",
                node_id=node_id,
                version=report["running_version"],
            )
        node.version = report["running_version"]
        node.node_type = report["node_type"]
        node.tasks_md5 = report["tasks_md5"]
        node.extra = {key: value for key, value in report.items() if key not in _HEARTBEAT_FIELDS}
        node.last_heartbeat = now
        node.heartbeats += 1
        self._heartbeats += 1
        return node

    def _tasks_for(self, node_id: str) -> list[dict[str, Any]]:
        """A task that names no node is for every node."""
        return [
            {**task, "planned_exec_node": node_id}
            for task in self.tasks
            if task.get("planned_exec_node") in (None, "", node_id)
        ]

    def result(self, task_id: str, node_id: str, status: int, text: str) -> None:
        """Note what became of a task."""
        self._results.append(
            {
                "task_id": task_id,
                "node_id": node_id,
                "status": status,
                "result": text,
                "at": rfc3339(self._now()),
            }
        )
        self._by_status[status] += 1
        self._by_task[task_id] += 1
        _log.debug("{task_id}: status {status}, {result}", task_id=task_id, status=status, result=text)

    def switch_faults(self, changes: Mapping[str, Any]) -> None:
        """
        Switch faults on or off.

        :param changes: see `Faults.changed`.
        :raises ValueError: there is a mistake in it; nothing is changed.
        """
        self.faults = self.faults.changed(changes)
        if on := str(self.faults):
            _log.warn("faults are on: {faults}", faults=on)
        else:
            _log.info("all faults are off")

    def as_json(self) -> dict[str, Any]:
        """Everything, for people and tests; results with the oldest first."""
        return {
            "nodes": [node.as_json() for node in self._nodes.values()],
            "tasks": list(self.tasks),
            "results": list(self._results),
            "faults": self.faults.as_json(),
            "node_page": self._node_page,
            "counts": {
                "heartbeats": self._heartbeats,
                "results": self._by_status.total(),
                "succeeded": self._by_status[TaskStatus.SUCCESS],
                "failed": self._by_status[TaskStatus.FAILED],
                "by_task": dict(self._by_task),
            },
        }
