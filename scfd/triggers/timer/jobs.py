"""Which (task, interval) pairs are due at a moment, and the payload of a timer event."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timezone
from itertools import chain
from typing import Any, overload

from attrs import frozen

from scfd.events.tasks import TaskSnapshot

_INTERVAL = re.compile(r"([1-9][0-9]*)([mhdwM])", re.ASCII)
_EPOCH = date(1970, 1, 1)
#: 1970-01-05, the first Monday of the epoch.
_FIRST_MONDAY = date(1970, 1, 5)


def is_due(interval: object, moment: datetime) -> bool:
    """
    Whether an interval such as ``5m``, ``1h``, ``1d``, ``1w`` or ``1M`` falls due in a minute.

    :param interval: anything but a positive whole number with one of these units is never due.
    :param moment: aware; what counts is its minute in UTC.
    """
    match = _INTERVAL.fullmatch(interval) if isinstance(interval, str) else None
    if match is None:
        return False
    # Its first 18 digits do: a number beyond them divides nothing but zero either. Python refuses to
    # read more than 4,300 digits.
    number, unit = int(match[1][:18]), match[2]
    utc = moment.astimezone(timezone.utc)
    if unit == "m":
        return utc.minute % number == 0
    if unit == "h":
        return utc.minute == 0 and utc.hour % number == 0
    if utc.minute or utc.hour:
        return False
    if unit == "d":
        return (utc.date() - _EPOCH).days % number == 0
    if unit == "w":
        weeks, weekday = divmod((utc.date() - _FIRST_MONDAY).days, 7)
        return weekday == 0 and weeks % number == 0
    return utc.day == 1 and utc.month % number == 0


def _due(snapshot: TaskSnapshot, intervals: frozenset[str]) -> tuple[bytes, ...]:
    """The jobs with one of these intervals as JSON, without the brackets, in parts."""
    if not snapshot.groups:
        due = b",".join([snapshot.job_json(job) for job in snapshot.jobs or () if job[0] in intervals])
        return (due,) if due else ()
    parts = [part for interval, part in snapshot.jobs_json.items() if interval in intervals]
    return tuple(piece for part in parts for piece in (b",", part))[1:]


class DueJobs(Sequence[dict[str, Any]]):
    """
    Many jobs as values, each made when it is read.

    100,000 dicts would hold the reactor for 60 ms, and for 30 ms more at each full garbage collection.

    :param due: which of the snapshot's jobs they are.
    """

    def __init__(self, snapshot: TaskSnapshot, due: Sequence[range]) -> None:
        self._snapshot = snapshot
        self._due = due

    def __len__(self) -> int:
        return sum(map(len, self._due))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._job, chain.from_iterable(self._due))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        found = range(len(self))[index]
        return self._at(found) if isinstance(found, int) else list(map(self._at, found))

    def _at(self, index: int) -> dict[str, Any]:
        for part in self._due:
            if index < len(part):
                return self._job(part[index])
            index -= len(part)
        raise IndexError(index)

    def _job(self, index: int) -> dict[str, Any]:
        assert self._snapshot.jobs is not None, "there are many"
        interval, task = self._snapshot.jobs[index]
        return {"task": self._snapshot.tasks[task], "interval": interval}


def _due_values(snapshot: TaskSnapshot, intervals: frozenset[str]) -> Sequence[dict[str, Any]]:
    """The jobs with one of these intervals as values, which a plugin behind HTTP does not need."""
    if snapshot.groups:
        return DueJobs(
            snapshot, [group for interval, group in snapshot.groups.items() if interval in intervals]
        )
    return tuple(
        [
            {"task": snapshot.tasks[index], "interval": interval}
            for interval, index in snapshot.jobs or ()
            if interval in intervals
        ]
    )


@frozen
class TimerPayload:
    """
    The payload of a timer event: the task list, and the jobs due where tasks have intervals.

    :ivar intervals: those that are due; None when no task has any.
    """

    snapshot: TaskSnapshot
    intervals: frozenset[str] | None

    @property
    def jobs(self) -> tuple[bytes, ...]:
        """The jobs as JSON, without the brackets, in parts; empty when none is due."""
        intervals = self.intervals
        if intervals is None:
            return ()
        return self.snapshot.once(("json", intervals), lambda: _due(self.snapshot, intervals))

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The payload as JSON, in parts: neither the task list nor its jobs are copied."""
        snapshot = self.snapshot
        parts = (b'{"tasks":', snapshot.json, b',"tasks_md5":"%b"' % snapshot.md5.encode())
        return (*parts, b"}") if self.intervals is None else (*parts, b',"jobs":[', *self.jobs, b"]}")

    def value(self) -> dict[str, Any]:
        """The payload as a native plugin gets it."""
        value: dict[str, Any] = {"tasks": self.snapshot.tasks, "tasks_md5": self.snapshot.md5}
        intervals = self.intervals
        if intervals is not None:
            value["jobs"] = self.snapshot.once(intervals, lambda: _due_values(self.snapshot, intervals))
        return value


def timer_payload(snapshot: TaskSnapshot, moment: datetime) -> TimerPayload:
    """:param moment: the scheduled one, aware."""
    if snapshot.jobs is None:
        return TimerPayload(snapshot, None)
    due = frozenset(interval for interval in snapshot.intervals if is_due(interval, moment))
    return TimerPayload(snapshot, due)
