"""The last events of each trigger, for whoever asks what happened."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, cast

from attrs import define, evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from scfd.errors import EventError, PluginUnavailableError, describe
from scfd.events.event import TaskResult, TaskStatus, TriggerEvent
from scfd.events.wire import from_rfc3339, rfc3339, to_json
from scfd.status.readiness import Readiness

#: Bytes that all events kept take up at the most, roughly: each trigger has its share, and no more than
#: `MOST_BYTES_OF_TRIGGER` of them.
MOST_BYTES, MOST_BYTES_OF_TRIGGER = 32 << 20, 2 << 20
#: Successes of one trigger that are kept in a second. Of more, nobody could read each, and to keep one takes
#: as long as a plugin that does nothing.
SUCCESSES_A_SECOND = 20
#: Task results of one event that are kept; those that failed come first.
MOST_RESULTS = 50
#: Characters that are kept of an error, of a traceback, and of a task's result.
MOST_ERROR, MOST_TRACEBACK, MOST_RESULT = 2_000, 16_000, 500
#: Bytes of a message that are kept with its event, which can be replayed by them.
MOST_PAYLOAD = 64 << 10
#: Bytes that an event takes besides its texts.
_BASE = 1_500

SUCCEEDED, FAILED, TASKS_FAILED, NOT_SENT, CANCELLED = (
    "succeeded",
    "failed",
    "tasks failed",
    "not sent",
    "cancelled",
)
_FAILURES = frozenset((TaskStatus.FAILED, TaskStatus.PARTLY_FAILED))


@frozen
class PastEvent:
    """
    An event that has ended.

    :ivar id: that of its span, the third part of the ``traceparent`` which its plugin was given.
    :ivar number: rises with each event that is kept.
    :ivar at: when the plugin was given it, seconds since the epoch.
    :ivar lateness: seconds after the moment it was meant for; None where there is no such moment.
    :ivar seconds: how long it took.
    :ivar outcome: one of the five above: ``tasks failed`` is an event that the plugin has handled with a
        failure among its task results.
    :ivar results: (task id, status, result) of those that are kept, of ``result_count``. Garbage collections
        do not walk through plain tuples of plain values.
    :ivar statuses: how many task results had each status.
    :ivar payload: of a message, as its event had it; None where it was too long.
    :ivar size: bytes it takes up, roughly.
    """

    id: str
    number: int
    trigger: str
    type: str
    at: float
    lateness: float | None
    seconds: float
    outcome: str
    metadata: dict[str, str]
    error: str
    traceback: str
    results: tuple[tuple[str, int, str], ...]
    result_count: int
    statuses: dict[int, int]
    payload: Any
    payload_size: int
    size: int = field(init=False)

    @size.default
    def _size(self) -> int:
        texts = sum(len(task_id) + len(result) + 100 for task_id, _, result in self.results)
        fields = sum(len(name) + len(value) + 120 for name, value in self.metadata.items())
        return _BASE + len(self.error) + len(self.traceback) + texts + fields + self.payload_size

    def short(self) -> PastEvent:
        """Without what is long and can be done without, for a node with very many triggers."""
        metadata = {name: value for name, value in self.metadata.items() if not name.startswith("header.")}
        return evolve(self, metadata=metadata, traceback="", results=(), payload=None, payload_size=0)

    def summary(self) -> dict[str, Any]:
        """The event as a line of a list."""
        return {
            "id": self.id,
            "number": self.number,
            "trigger": self.trigger,
            "type": self.type,
            "at": rfc3339(self.at),
            "lateness": None if self.lateness is None else round(self.lateness, 4),
            "seconds": round(self.seconds, 6),
            "outcome": self.outcome,
            "error": self.error,
            "results": self.result_count,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "delivery": int(self.metadata.get("num_delivered", 0)),
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            **self.summary(),
            "traceback": self.traceback,
            "metadata": self.metadata,
            "task_results": [
                {"task_id": task_id, "status": status, "result": result}
                for task_id, status, result in self.results
            ],
            "payload": self.payload,
        }


@frozen(eq=False)
class RunningEvent:
    """
    An event that the plugin is working on.

    :ivar began: by the monotonic clock.
    :ivar done: cancelling it ends the event.
    """

    event: TriggerEvent
    began: float
    done: Deferred[Any]

    @property
    def id(self) -> str:
        """See `PastEvent`."""
        return span_id(self.event)


@define
class _Results:
    """
    The task results of one event.

    :ivar failed: the first of those that failed, shortened; `others` likewise.
    """

    statuses: Counter[int] = field(factory=Counter)
    failed: list[tuple[str, int, str]] = field(factory=list)
    others: list[tuple[str, int, str]] = field(factory=list)

    def add(self, results: Iterable[TaskResult]) -> None:
        for result in results:
            status = int(result.status)
            self.statuses[status] += 1
            shown = self.failed if status in _FAILURES else self.others
            if len(shown) < MOST_RESULTS:
                shown.append((result.task_id, status, result.result[:MOST_RESULT]))

    def all_failed(self) -> bool:
        return bool(self.failed) and not self.statuses.keys() - _FAILURES

    @property
    def shown(self) -> tuple[tuple[str, int, str], ...]:
        return tuple((self.failed + self.others)[:MOST_RESULTS])


#: Of an event without any; nothing is added to it.
_NO_RESULTS = _Results()


@define
class _Kept:
    """
    All events that are kept, of all triggers.

    :ivar in_order: by their numbers, the oldest first.
    :ivar numbers: by their ids; an event that was tried again has several.
    """

    in_order: dict[int, PastEvent] = field(factory=dict)
    numbers: dict[str, tuple[int, ...]] = field(factory=dict)

    def add(self, event: PastEvent) -> None:
        self.in_order[event.number] = event
        self.numbers[event.id] = (*self.numbers.get(event.id, ()), event.number)

    def remove(self, event: PastEvent) -> None:
        del self.in_order[event.number]
        others = tuple(number for number in self.numbers.pop(event.id) if number != event.number)
        if others:
            self.numbers[event.id] = others


@define
class _Shelf:
    """The last events of one kind and one trigger, with the bytes they take."""

    kept: _Kept
    events: deque[PastEvent] = field(factory=deque)
    size: int = 0

    def add(self, event: PastEvent, most: int, most_bytes: int) -> None:
        self.kept.add(event)
        self.events.append(event)
        self.size += event.size
        self.trim(most, most_bytes)

    def trim(self, most: int, most_bytes: int) -> None:
        """Keep no more than so many, and so many bytes; of the newest at least what is short."""
        if self.events and self.events[-1].size > most_bytes:
            newest = self.events.pop()
            self.kept.in_order[newest.number] = short = newest.short()
            self.events.append(short)
            self.size += short.size - newest.size
        while len(self.events) > most or (self.size > most_bytes and len(self.events) > 1):
            oldest = self.events.popleft()
            self.size -= oldest.size
            self.kept.remove(oldest)


@define
class _Trigger:
    """
    :ivar second: when the second began in which ``in_second`` successes have been seen.
    :ivar in_a_row: how many of the last events have failed.
    """

    succeeded: _Shelf
    failed: _Shelf
    second: float = 0.0
    in_second: int = 0
    in_a_row: int = 0


class History:
    """
    Successes and failures are kept apart, so that many of these do not push out the few of those.

    :param now: the wall clock, seconds since the epoch.
    :param readiness: is told of triggers whose last events have all failed.
    :param most: how many successes, and how many failures, are kept of each trigger; 0 keeps none.
    :param failing_after: how many events in a row make a trigger a failing one.
    """

    def __init__(
        self, now: Callable[[], float], readiness: Readiness, most: int = 200, failing_after: int = 5
    ) -> None:
        self._now = now
        self._readiness = readiness
        self._most = most
        self._failing_after = failing_after
        self._triggers: dict[str, _Trigger] = {}
        self._in_turn: deque[_Trigger] = deque()
        self._kept = _Kept()
        self._running: dict[int, RunningEvent] = {}
        self._reported: dict[int, _Results] = {}
        self._followed: dict[int, tuple[TriggerEvent, Deferred[PastEvent]]] = {}
        self._watchers: list[Callable[[PastEvent], object]] = []
        self._number = 0

    def begun(self, event: TriggerEvent, began: float, done: Deferred[Any]) -> None:
        """An event is under way; one that has ended at once needs no such call."""
        self._running[id(event)] = RunningEvent(event, began, done)

    def reported(self, event: TriggerEvent, results: Sequence[TaskResult]) -> None:
        """Note results of an event that is under way."""
        if id(event) in self._running:
            self._reported.setdefault(id(event), _Results()).add(results)

    def follow(self, event: TriggerEvent) -> Deferred[PastEvent]:
        """:returns: a Deferred of what became of an event that is about to begin. It does not fail."""
        ended: Deferred[PastEvent] = Deferred()
        self._followed[id(event)] = event, ended
        return ended

    def ended(
        self,
        event: TriggerEvent,
        seconds: float,
        failure: Failure | None = None,
        results: Sequence[TaskResult] = (),
    ) -> None:
        """
        An event has ended.

        :param seconds: how long it took.
        :param results: of its tasks, besides those that were `reported`.
        """
        self._running.pop(id(event), None)
        kept = self._reported.pop(id(event), _NO_RESULTS)
        if results:
            kept = kept if kept is not _NO_RESULTS else _Results()
            kept.add(results)
        trigger = self._triggers.get(event.name)
        if trigger is None:
            trigger = self._triggers[event.name] = _Trigger(_Shelf(self._kept), _Shelf(self._kept))
            self._in_turn.append(trigger)
        now = self._now()
        if failure is None and not kept.statuses:
            if trigger.in_a_row:
                self._works(event.name, trigger)
            if not 0 <= now - trigger.second < 1:
                trigger.second, trigger.in_second = now, 0
            trigger.in_second += 1
            if trigger.in_second > SUCCESSES_A_SECOND and not self._followed:
                return
        outcome = _outcome(failure, kept)
        if outcome == FAILED or kept.all_failed():
            self._fails(event.name, trigger, failure, kept)
        elif outcome in (SUCCEEDED, TASKS_FAILED) and trigger.in_a_row:
            self._works(event.name, trigger)
        followed = self._followed.pop(id(event), None)
        if self._most or followed:
            past = self._past(event, now - seconds, seconds, outcome, failure, kept)
            self._keep(trigger, past)
            if followed:
                followed[1].callback(past)

    def _fails(self, name: str, trigger: _Trigger, failure: Failure | None, results: _Results) -> None:
        trigger.in_a_row += 1
        if trigger.in_a_row >= self._failing_after:
            why = failure.getErrorMessage() if failure is not None else results.failed[0][2]
            self._readiness.warning(
                _component(name),
                f"its last {trigger.in_a_row} events have all failed, the last one with: "
                f"{' '.join(why.split())[:200]}",
                f"scfd events --failed --trigger {name}",
            )

    def _works(self, name: str, trigger: _Trigger) -> None:
        if trigger.in_a_row >= self._failing_after:
            self._readiness.well(_component(name))
        trigger.in_a_row = 0

    def _past(
        self,
        event: TriggerEvent,
        at: float,
        seconds: float,
        outcome: str,
        failure: Failure | None,
        results: _Results,
    ) -> PastEvent:
        self._number += 1
        metadata = dict(event.metadata)
        meant = metadata.get("fire_time")
        return PastEvent(
            span_id(event),
            self._number,
            event.name,
            event.type,
            at,
            max(0.0, at - from_rfc3339(meant).timestamp()) if meant else None,
            seconds,
            outcome,
            metadata,
            describe(cast(BaseException, failure.value))[:MOST_ERROR] if failure is not None else "",
            _traceback(failure),
            results.shown,
            sum(results.statuses.values()),
            dict(results.statuses),
            *_kept_payload(event),
        )

    def _keep(self, trigger: _Trigger, past: PastEvent) -> None:
        shelf = trigger.succeeded if past.outcome == SUCCEEDED else trigger.failed
        most_bytes = min(MOST_BYTES_OF_TRIGGER, MOST_BYTES // len(self._triggers)) // 2
        shelf.add(past, self._most, most_bytes)
        self._in_turn.rotate()
        for shelf in (self._in_turn[0].succeeded, self._in_turn[0].failed):
            shelf.trim(self._most, most_bytes)
        for watcher in self._watchers:
            watcher(past)

    def watch(self, watcher: Callable[[PastEvent], object]) -> Callable[[], None]:
        """
        Have each event that is kept told as it ends.

        :param watcher: must not raise.
        :returns: a function that ends it.
        """
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def running(self) -> list[RunningEvent]:
        """The events under way, the oldest first."""
        return list(self._running.values())

    def last(
        self, trigger: str = "", failed: bool = False, after: int = -1, limit: int = sys.maxsize
    ) -> list[PastEvent]:
        """
        The events that are kept, the newest first.

        :param trigger: of this one only, where it is not empty.
        :param failed: whether successes are left out.
        :param after: leaves out those up to this number.
        """
        found: list[PastEvent] = []
        for past in self._newest_first(trigger):
            if len(found) >= limit or past.number <= after:
                break
            if not failed or past.outcome != SUCCEEDED:
                found.append(past)
        return found

    def _newest_first(self, trigger: str) -> Iterator[PastEvent]:
        if not trigger:
            return reversed(self._kept.in_order.values())
        kept = self._triggers.get(trigger)
        shelves = (kept.succeeded, kept.failed) if kept is not None else ()
        return merge(
            *(reversed(shelf.events) for shelf in shelves), key=lambda past: past.number, reverse=True
        )

    def find(self, id: str) -> PastEvent | RunningEvent | None:
        """The newest event with an id, whether it has ended or not."""
        for running in self._running.values():
            if running.id == id:
                return running
        numbers = self._kept.numbers.get(id)
        return self._kept.in_order[numbers[-1]] if numbers else None


def _outcome(failure: Failure | None, results: _Results) -> str:
    if failure is None:
        return TASKS_FAILED if results.failed else SUCCEEDED
    if failure.check(PluginUnavailableError):
        return NOT_SENT
    return CANCELLED if failure.check(CancelledError) else FAILED


def span_id(event: TriggerEvent) -> str:
    """The id of an event: that of its span in the trace context."""
    return event.traceparent[36:52]


def _component(trigger: str) -> str:
    return f"trigger {trigger}"


def _traceback(failure: Failure | None) -> str:
    if failure is None or failure.check(EventError):
        return ""  # said in words for its reader already
    return failure.getTraceback()[-MOST_TRACEBACK:]


def _kept_payload(event: TriggerEvent) -> tuple[Any, int]:
    """
    What a message's event can be replayed by; a timer is fired again with the tasks of that moment.

    :returns: the payload, and its bytes as JSON, roughly.
    """
    if event.type == "timer":
        return None, 0
    encoded = event.payload_json if isinstance(event.payload_json, bytes) else to_json(event.payload)
    return (event.payload, len(encoded)) if len(encoded) <= MOST_PAYLOAD else (None, 0)
