"""The task results that wait: a queue for each task. Tasks take turns, each with one result at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from scfd.reports.outbox import Entry

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
        self._queues: dict[str, deque[Entry]] = {}
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
            queue = self._queues.get(task_id)
            if queue is None:
                queue = self._queues[task_id] = deque()
                self._ready.append(task_id)
            queue.append(entry)
        if self._arrived and not self._stopped:
            self._sorting = self._clock.callLater(0, self._sort)
        self._go_on()

    def take(self) -> Entry | None:
        """
        :returns: the first result of the task whose turn it is, or None. The task has no other turn until
            `done` or `pause`.
        """
        return self._queues[self._ready.popleft()][0] if self._ready else None

    def done(self, task_id: str) -> None:
        """Forget the first result of a task; the task has a turn again if it has another one."""
        self._count -= 1
        queue = self._queues[task_id]
        queue.popleft()
        if queue:
            self._ready.append(task_id)
        else:
            del self._queues[task_id]

    def pause(self, task_id: str, seconds: float) -> None:
        """Give a task, with the same first result, a turn again after so long."""
        self._paused[task_id] = self._clock.callLater(seconds, self._resume, task_id)

    def _resume(self, task_id: str) -> None:
        del self._paused[task_id]
        self._ready.append(task_id)
        self._go_on()

    def hurry(self, seqs: Container[int]) -> int:
        """Give tasks that pause with one of these results their turn. :returns: how many there were."""
        tasks = [task for task in self._paused if self._queues[task][0].seq in seqs]
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
        found = _take_out(self._arrived, tasks)
        ready = set(self._ready)
        for task_id in set(tasks.values()) & self._queues.keys():
            queue = self._queues[task_id]
            on_its_way = [] if task_id in ready or task_id in self._paused else [queue.popleft()]
            found += _take_out(queue, tasks)
            queue.extendleft(on_its_way)
            if not queue:
                del self._queues[task_id]
                if task_id in self._paused:
                    self._paused.pop(task_id).cancel()
        self._ready = deque(task_id for task_id in self._ready if task_id in self._queues)
        self._count -= len(found)
        return found

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


def _take_out(queue: deque[Entry], seqs: Container[int]) -> list[Entry]:
    found = [entry for entry in queue if entry.seq in seqs]
    if found:
        kept = [entry for entry in queue if entry.seq not in seqs]
        queue.clear()
        queue.extend(kept)
    return found
