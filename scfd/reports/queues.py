"""The task results that wait: a queue for each task. Tasks take turns, each with one result at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from scfd.reports.outbox import Entry, Packed, packed, unpacked

#: How many results are put into their queues before the reactor has its turn: about 1 ms.
SORTED_AT_ONCE = 1000


class TaskQueues:
    """
    Keeps the order of each task's results.

    ``len()`` is the number of all results that wait, those on their way included.

    :param go_on: called when there may be more to `take`.
    """

    def __init__(self, clock: Any, go_on: Callable[[], object]) -> None:
        self._clock = clock
        self._go_on = go_on
        self._count = 0
        self._arrived: deque[Entry] = deque()
        self._sorting: IDelayedCall | None = None
        self._stopped = False
        #: The first result of each task, and those behind it where there are any.
        self._first: dict[str, Packed] = {}
        self._behind: dict[str, deque[Packed]] = {}
        self._ready: deque[str] = deque()
        self._paused: dict[str, IDelayedCall] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, entries: list[Entry]) -> None:
        """Append results to the queues of their tasks, long lists in parts."""
        self._count += len(entries)
        self._arrived.extend(entries)
        if self._sorting is None:
            self._sort()

    def _sort(self) -> None:
        self._sorting = None
        for _ in range(min(SORTED_AT_ONCE, len(self._arrived))):
            entry = self._arrived.popleft()
            task_id = entry.result.task_id
            if task_id in self._first:
                self._behind.setdefault(task_id, deque()).append(packed(entry))
            else:
                self._first[task_id] = packed(entry)
                self._ready.append(task_id)
        if self._arrived and not self._stopped:
            self._sorting = self._clock.callLater(0, self._sort)
        self._go_on()

    def take(self) -> Entry | None:
        """
        :returns: the first result of the task whose turn it is, or None. The task has no other turn until
            `done` or `pause`.
        """
        return unpacked(self._first[self._ready.popleft()]) if self._ready else None

    def done(self, task_id: str) -> None:
        """Forget the first result of a task; the task has a turn again if it has another one."""
        self._count -= 1
        if self._next(task_id):
            self._ready.append(task_id)

    def _next(self, task_id: str) -> bool:
        """Forget the first result of a task. :returns: whether it has another one."""
        behind = self._behind.get(task_id)
        if behind is None:
            del self._first[task_id]
            return False
        self._first[task_id] = behind.popleft()
        if not behind:
            del self._behind[task_id]
        return True

    def pause(self, task_id: str, seconds: float) -> None:
        """Give a task, with the same first result, a turn again after so long."""
        self._paused[task_id] = self._clock.callLater(seconds, self._resume, task_id)

    def _resume(self, task_id: str) -> None:
        del self._paused[task_id]
        self._ready.append(task_id)
        self._go_on()

    def hurry(self, seqs: Container[int]) -> int:
        """Give tasks that pause with one of these results their turn. :returns: how many there were."""
        tasks = [task for task in self._paused if self._first[task][0] in seqs]
        for task_id in tasks:
            self._paused[task_id].cancel()
            self._resume(task_id)
        return len(tasks)

    def discard(self, tasks: Mapping[int, str]) -> list[Entry]:
        """
        Forget results that are not on their way.

        :param tasks: of each number.
        :returns: those that are forgotten.
        """
        found = [entry for entry in self._arrived if entry.seq in tasks]
        self._arrived = deque(entry for entry in self._arrived if entry.seq not in tasks)
        ready = set(self._ready)
        for task_id in set(tasks.values()) & self._first.keys():
            found += self._discard_behind(task_id, tasks)
            waits = task_id in ready or task_id in self._paused
            if waits and self._first[task_id][0] in tasks:
                found.append(unpacked(self._first[task_id]))
                if not self._next(task_id) and task_id in self._paused:
                    self._paused.pop(task_id).cancel()
        self._ready = deque(task_id for task_id in self._ready if task_id in self._first)
        self._count -= len(found)
        return found

    def _discard_behind(self, task_id: str, seqs: Container[int]) -> list[Entry]:
        behind = self._behind.pop(task_id, ())
        if kept := deque(each for each in behind if each[0] not in seqs):
            self._behind[task_id] = kept
        return [unpacked(each) for each in behind if each[0] in seqs]

    def stop_pauses(self) -> None:
        """Tasks that pause have no further turn."""
        for call in self._paused.values():
            call.cancel()
        self._paused.clear()

    def stop(self) -> None:
        """Make no further call."""
        self._stopped = True
        self.stop_pauses()
        if self._sorting is not None:
            self._sorting.cancel()
            self._sorting = None
