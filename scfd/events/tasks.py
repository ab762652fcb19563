"""The task list that the control plane gave this node, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from scfd.events.wire import to_json

_log = Logger(namespace="scfd.tasks")

#: The digest of a list without a valid task, and of a node that has not been given one.
EMPTY_MD5 = "empty"


def is_valid(task: Mapping[str, Any]) -> bool:
    """Whether a task is to be run: ``invalid`` is 0, null or missing."""
    return task.get("invalid") in (0, None)


def tasks_md5(tasks: Iterable[Mapping[str, Any]]) -> str:
    """
    The digest by which node and control plane agree on a task list.

    :param tasks: task instances, each with a ``task_id``; only the valid ones count.
    :returns: lowercase hex MD5 of the ids, sorted by code point and joined by commas, or ``empty``.
    """
    ids = sorted(task["task_id"] for task in tasks if is_valid(task))
    if not ids:
        return EMPTY_MD5
    # surrogatepass: JSON can carry half a surrogate pair ("\\ud800"), which plain UTF-8 refuses.
    joined = ",".join(ids).encode("utf-8", "surrogatepass")
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()


@frozen(eq=False)
class TaskSnapshot:
    """
    A task list that never changes.

    Events share it, so its JSON is made once per change and not once per event: for 10,000 tasks
    that saves 10 ms of CPU an event.

    :ivar tasks: task instances as the control plane sent them, unknown fields included.
    :ivar md5: their digest, see :func:`tasks_md5`.
    :ivar ids: of the valid tasks.
    :ivar encoded: each task as JSON.
    :ivar json: ``tasks`` as JSON, an array.
    """

    tasks: tuple[Mapping[str, Any], ...]
    md5: str = field(init=False)
    ids: frozenset[str] = field(init=False, repr=False)
    encoded: tuple[bytes, ...] = field(init=False, repr=False)
    json: bytes = field(init=False, repr=False)

    @md5.default
    def _digest(self) -> str:
        return tasks_md5(self.tasks)

    @ids.default
    def _valid_ids(self) -> frozenset[str]:
        return frozenset(task["task_id"] for task in self.tasks if is_valid(task))

    @encoded.default
    def _encode(self) -> tuple[bytes, ...]:
        return tuple(to_json(task) for task in self.tasks)

    @json.default
    def _join(self) -> bytes:
        return b"[" + b",".join(self.encoded) + b"]"


EMPTY_SNAPSHOT = TaskSnapshot(())


class TaskStore:
    """
    The task list of this node: one snapshot, replaced as a whole.

    :ivar snapshot: the current :class:`TaskSnapshot`.
    """

    def __init__(self) -> None:
        self.snapshot = EMPTY_SNAPSHOT

    def replace(self, tasks: Sequence[Any]) -> None:
        """Take a new list in place of the old one; entries without a ``task_id`` are left out."""
        usable = tuple(task for task in tasks if _is_task(task))
        if len(usable) < len(tasks):
            _log.warn(
                "left out {count} of {total} task instances: they have no task_id",
                count=len(tasks) - len(usable),
                total=len(tasks),
            )
        before, self.snapshot = self.snapshot, TaskSnapshot(usable)
        if self.snapshot.tasks != before.tasks:
            names = [task["task_id"] for task in usable if is_valid(task)]
            _log.info(
                "{count} {noun} received{names}",
                count=len(names),
                noun="task" if len(names) == 1 else "tasks",
                names=f": {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "",
            )

    def current_md5(self) -> str:
        """The digest of the current list, ``empty`` at start."""
        return self.snapshot.md5

    def get_all(self) -> tuple[Mapping[str, Any], ...]:
        """Every task instance, the invalid ones included."""
        return self.snapshot.tasks

    def get_by_node(self, node_id: str) -> tuple[Mapping[str, Any], ...]:
        """The task instances whose ``planned_exec_node`` is ``node_id``."""
        return tuple(t for t in self.snapshot.tasks if t.get("planned_exec_node") == node_id)


def _is_task(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("task_id"), str) and bool(entry["task_id"])
