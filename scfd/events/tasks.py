"""The task list that the control plane gave this node, its digest, and the jobs that its tasks ask for."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from itertools import islice
from threading import Thread
from time import sleep
from typing import Any, TypeVar
from weakref import finalize

from attrs import field, frozen
from twisted.logger import Logger

from scfd.events.wire import from_json, to_json

_log = Logger(namespace="scfd.tasks")

T = TypeVar("T")

#: The digest of a list without a valid task, and of a node that has not been given one.
EMPTY_MD5 = "empty"
#: A list of more entries is read and encoded in a thread: 1,000 take some 10 ms.
LONG_LIST = 1000
#: What a field that is missing, or null, stands for: plugins may rely on these being there.
ZERO_VALUES: Mapping[str, Any] = {
    "id": 0,
    "rule_id": "",
    "planned_exec_node": "",
    "task_params": "",
    "invalid": 0,
}
#: Ids that are sorted in one go: C code that sorts 100,000 keeps the other threads waiting for 50 ms.
_SORTED_AT_ONCE = 5000
#: Objects that are freed in one go: below 1 ms, in which no other thread runs.
_FREED_AT_ONCE = 1000
#: Values that are kept with a list; few sets of intervals fall due together, and they come again.
_COMPUTED_KEPT = 8


#: ``invalid`` of a task that is to be run, where it is text.
NOT_INVALID = ("", "0", "false")


def is_valid(task: Mapping[str, Any]) -> bool:
    """Whether a task is to be run: ``invalid`` is 0, null or missing."""
    return task.get("invalid") in (0, None)


def tasks_md5(tasks: Iterable[Mapping[str, Any]]) -> str:
    """
    The digest by which node and control plane agree on a task list.

    :param tasks: task instances, each with a ``task_id``; only the valid ones count.
    :returns: lowercase hex MD5 of the ids, sorted by code point and joined by commas, or ``empty``.
    """
    ids = [task["task_id"] for task in tasks if is_valid(task)]
    if not ids:
        return EMPTY_MD5
    parts = (sorted(ids[start : start + _SORTED_AT_ONCE]) for start in range(0, len(ids), _SORTED_AT_ONCE))
    # surrogatepass: JSON can carry half a surrogate pair ("\\ud800"), which plain UTF-8 refuses.
    joined = ",".join(heapq.merge(*parts)).encode("utf-8", "surrogatepass")
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()


#: An interval in the ``task_params`` of a valid task, and the task's index.
Job = tuple[str, int]
#: More jobs than that are ordered by interval: those that are due are put together from few long parts then,
#: where picking 100,000 of them takes 40 ms.
MANY_JOBS = 10_000


class Jobs:
    """
    Jobs in some order, as numbers: each full garbage collection would walk through 200,000 tuples, and hold
    every thread for 20 ms.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._intervals, self._tasks = array("I"), array("I")

    def add(self, interval: str, task: int) -> None:
        if interval not in self._numbers:
            self._numbers[interval] = len(self._names)
            self._names.append(interval)
        self._intervals.append(self._numbers[interval])
        self._tasks.append(task)

    def group(self) -> dict[str, range]:
        """Order them by interval. :returns: where those of each interval are."""
        parts = [array("I") for _ in self._names]
        for interval, task in zip(self._intervals, self._tasks, strict=True):
            parts[interval].append(task)
        self._intervals, self._tasks = array("I"), array("I")
        groups = {}
        for number, part in enumerate(parts):
            start = len(self._tasks)
            self._intervals.extend(array("I", [number]) * len(part))
            self._tasks.extend(part)
            groups[self._names[number]] = range(start, len(self._tasks))
        return groups

    @property
    def intervals(self) -> frozenset[str]:
        """Each once."""
        return frozenset(self._names)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> Job:
        return self._names[self._intervals[index]], self._tasks[index]

    def __iter__(self) -> Iterator[Job]:
        return zip(map(self._names.__getitem__, self._intervals), self._tasks, strict=True)


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
    :ivar jobs: of all valid tasks, whether due or not, in the order of the tasks, `MANY_JOBS` by interval
        before that; None when no task has a list of intervals.
    :ivar unscheduled: indexes of the valid tasks that have no list of intervals.
    :ivar groups: where there are `MANY_JOBS`, which of them have each interval.
    :ivar jobs_json: these as JSON, without the brackets.
    :ivar intervals: those of the jobs, each once.
    :ivar computed: what is worth keeping as long as the list: see `TaskSnapshot.once`.
    """

    tasks: tuple[Mapping[str, Any], ...]
    md5: str = field(init=False)
    _ids: Mapping[str, None] = field(init=False, repr=False)
    encoded: tuple[bytes, ...] = field(init=False, repr=False)
    json: bytes = field(init=False, repr=False)
    _schedule: tuple[Jobs | None, tuple[int, ...]] = field(init=False, repr=False)
    jobs: Jobs | None = field(init=False, repr=False)
    unscheduled: tuple[int, ...] = field(init=False, repr=False)
    groups: Mapping[str, range] = field(init=False, repr=False)
    jobs_json: Mapping[str, bytes] = field(init=False, repr=False)
    intervals: frozenset[str] = field(init=False, repr=False)
    computed: dict[Any, Any] = field(init=False, repr=False, factory=dict)

    @md5.default
    def _digest(self) -> str:
        return tasks_md5(self.tasks)

    @_ids.default
    def _valid_ids(self) -> dict[str, None]:
        # Unlike a set, a dict of plain values is nothing for the garbage collector to walk through.
        return dict.fromkeys(task["task_id"] for task in self.tasks if is_valid(task))

    @property
    def ids(self) -> KeysView[str]:
        return self._ids.keys()

    @encoded.default
    def _encode(self) -> tuple[bytes, ...]:
        return tuple(to_json(task) for task in self.tasks)

    @json.default
    def _join(self) -> bytes:
        # Copied once: a join of this size lets other threads run, a concatenation does not.
        parts = list(self.encoded) or [b""]
        parts[0] = b"[" + parts[0]
        parts[-1] += b"]"
        return b",".join(parts)

    @_schedule.default
    def _read_intervals(self) -> tuple[Jobs | None, tuple[int, ...]]:
        jobs = Jobs()
        unscheduled: list[int] = []
        found = False
        for index, task in enumerate(self.tasks):
            if not is_valid(task):
                continue
            intervals = _task_intervals(task)
            if intervals is None:
                unscheduled.append(index)
                continue
            found = True
            for each in intervals:
                if isinstance(each, str):
                    jobs.add(each, index)
        return jobs if found else None, tuple(unscheduled)

    @jobs.default
    def _all_jobs(self) -> Jobs | None:
        return self._schedule[0]

    @unscheduled.default
    def _all_unscheduled(self) -> tuple[int, ...]:
        return self._schedule[1]

    @groups.default
    def _group(self) -> dict[str, range]:
        many = self.jobs is not None and len(self.jobs) > MANY_JOBS
        return self.jobs.group() if many and self.jobs else {}

    @jobs_json.default
    def _encode_jobs(self) -> dict[str, bytes]:
        jobs = self.jobs or Jobs()
        return {
            interval: _join(self.job_json(jobs[index]) for index in group)
            for interval, group in self.groups.items()
        }

    @intervals.default
    def _distinct(self) -> frozenset[str]:
        return self.jobs.intervals if self.jobs else frozenset()

    def once(self, key: Any, compute: Callable[[], T]) -> T:
        """What is computed from this list, and asked for again and again. The last few are kept."""
        if key not in self.computed:
            if len(self.computed) >= _COMPUTED_KEPT:
                del self.computed[next(iter(self.computed))]
            self.computed[key] = compute()
        value: T = self.computed[key]
        return value

    def job_json(self, job: Job) -> bytes:
        """A job as a timer's payload has it."""
        interval, index = job
        return b'{"task":%b,"interval":%b}' % (self.encoded[index], to_json(interval))


def _join(parts: Iterator[bytes]) -> bytes:
    """A comma between each two; no long list is made, which would be freed in one go."""
    chunks = []
    while chunk := list(islice(parts, _FREED_AT_ONCE)):
        chunks.append(b",".join(chunk))
    return b",".join(chunks)


def _task_intervals(task: Mapping[str, Any]) -> list[Any] | None:
    params = task.get("task_params")
    if not isinstance(params, str):
        return None
    try:
        value = from_json(params.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    intervals = value.get("intervals") if isinstance(value, dict) else None
    return intervals if isinstance(intervals, list) else None


EMPTY_SNAPSHOT = TaskSnapshot(())


def read_tasks(entries: Sequence[Any]) -> TaskSnapshot | None:
    """
    The task list that a control plane sent. It may run in any thread.

    An id that is an integer is taken as its text. Of two entries with one id the last stands. Fields that
    are missing or null get their zero values, and ``invalid`` that is text the number that it means.

    :param entries: those without a ``task_id`` are left out, with a warning.
    :returns: None when there are entries, and none can be used.
    """
    usable: dict[str, dict[str, Any]] = {}
    left_out = 0
    for entry in entries:
        task_id = _task_id(entry)
        if task_id:
            given = {
                name: value for name, value in entry.items() if value is not None or name not in ZERO_VALUES
            }
            usable[task_id] = task = {**ZERO_VALUES, **given, "task_id": task_id}
            if isinstance(task["invalid"], str):
                task["invalid"] = int(task["invalid"].strip().lower() not in NOT_INVALID)
        else:
            left_out += 1
    if left_out:
        _log.warn(
            "left out {count} of {total} task instances: they have no task_id{kept}",
            count=left_out,
            total=len(entries),
            kept="" if usable else "; the task list stays as it is",
        )
    return None if entries and not usable else TaskSnapshot(tuple(usable.values()))


def read_long_tasks(entries: list[Any]) -> TaskSnapshot | None:
    """The same as `read_tasks`, for a thread: ``entries`` is empty afterwards, freed in steps."""
    snapshot = read_tasks(entries)
    _free([entries])
    return snapshot


def _free_in_steps(snapshot: TaskSnapshot) -> None:
    """Free the parts of a long list in a thread once nobody uses it: 100,000 tasks take 40 ms in one go."""

    def begin(parts: list[Sequence[Any]]) -> None:
        Thread(target=lambda: _free([list(parts.pop()) for _ in range(len(parts))]), daemon=True).start()

    unused = finalize(snapshot, begin, [snapshot.tasks, snapshot.encoded])
    unused.atexit = False


def _free(parts: list[list[Any]]) -> None:
    for items in parts:
        while items:
            del items[-_FREED_AT_ONCE:]
            sleep(0.001)


def _task_id(entry: Any) -> str:
    """:returns: empty when the entry has none."""
    task_id = entry.get("task_id") if isinstance(entry, dict) else None
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        return str(task_id) if abs(task_id) < 2**63 else ""  # longer ones Python may refuse to write
    return task_id if isinstance(task_id, str) else ""


class TaskStore:
    """
    The task list of this node: one snapshot, replaced as a whole.

    :ivar snapshot: the current :class:`TaskSnapshot`.
    """

    def __init__(self) -> None:
        self.snapshot = EMPTY_SNAPSHOT

    def replace(self, entries: Sequence[Any]) -> None:
        """Take a new list in place of the old one: see `read_tasks`, and `take` for one of `LONG_LIST`."""
        self.take(read_tasks(entries))

    def take(self, snapshot: TaskSnapshot | None) -> None:
        """
        Take what `read_tasks` made, where that ran in a thread.

        :param snapshot: None changes nothing.
        """
        if snapshot is None:
            return
        if len(snapshot.tasks) > LONG_LIST:
            _free_in_steps(snapshot)
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.md5 != before.md5:
            count = len(snapshot.ids)
            names = [task["task_id"] for task in islice(filter(is_valid, snapshot.tasks), 8)]
            _log.info(
                "{count} {noun} received{names}",
                count=count,
                noun="task" if count == 1 else "tasks",
                names=f": {', '.join(names)}{', …' if count > 8 else ''}" if names else "",
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
