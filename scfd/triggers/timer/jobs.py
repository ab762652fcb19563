"""Which (task, interval) pairs are due at a moment, and the payload of a timer event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple

from scfd.events.tasks import TaskSnapshot, is_valid
from scfd.events.wire import from_json, to_json

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


# One snapshot is current at a time; the second place is for the events still under way with the last.
@lru_cache(maxsize=2)
def _intervals(snapshot: TaskSnapshot) -> tuple[tuple[int, str], ...] | None:
    """The (index of the task, interval) pairs of the valid tasks; None when no task has a list."""
    pairs: list[tuple[int, str]] = []
    found = False
    for index, task in enumerate(snapshot.tasks):
        intervals = _task_intervals(task)
        if intervals is not None:
            found = True
            pairs.extend((index, interval) for interval in intervals if isinstance(interval, str))
    return tuple(pairs) if found else None


def _task_intervals(task: Mapping[str, Any]) -> list[Any] | None:
    params = task.get("task_params")
    if not is_valid(task) or not isinstance(params, str):
        return None
    try:
        value = from_json(params.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    intervals = value.get("intervals") if isinstance(value, dict) else None
    return intervals if isinstance(intervals, list) else None


@lru_cache(maxsize=2)
def _distinct(snapshot: TaskSnapshot) -> frozenset[str] | None:
    """The intervals of its tasks, a handful as a rule; None when no task has a list."""
    pairs = _intervals(snapshot)
    return None if pairs is None else frozenset(interval for _, interval in pairs)


# Few sets of intervals fall due together, and they come again each minute, hour, day.
@lru_cache(maxsize=4)
def _jobs(snapshot: TaskSnapshot, intervals: frozenset[str]) -> tuple[tuple[dict[str, Any], ...], bytes]:
    """The pairs with one of these intervals, as values and as JSON."""
    due = [(index, interval) for index, interval in _intervals(snapshot) or () if interval in intervals]
    encoded = b",".join(
        b'{"task":%b,"interval":%b}' % (snapshot.encoded[index], to_json(interval)) for index, interval in due
    )
    return tuple({"task": snapshot.tasks[index], "interval": interval} for index, interval in due), encoded


class TimerPayload(NamedTuple):
    """
    The payload of a timer event.

    :ivar value: as a value.
    :ivar parts: as JSON, in parts.
    :ivar jobs: the jobs among these parts, as JSON without the brackets; empty when none is due.
    """

    value: dict[str, Any]
    parts: tuple[bytes, ...]
    jobs: bytes


def timer_payload(snapshot: TaskSnapshot, moment: datetime) -> TimerPayload:
    """
    The payload of a timer event: the task list, and the jobs due where tasks have intervals.

    :param moment: the scheduled one, aware.
    """
    payload: dict[str, Any] = {"tasks": snapshot.tasks, "tasks_md5": snapshot.md5}
    parts = (b'{"tasks":', snapshot.json, b',"tasks_md5":"%b"' % snapshot.md5.encode())
    intervals = _distinct(snapshot)
    if intervals is None:
        return TimerPayload(payload, (*parts, b"}"), b"")
    falling_due = frozenset(interval for interval in intervals if is_due(interval, moment))
    payload["jobs"], encoded = _jobs(snapshot, falling_due)
    return TimerPayload(payload, (*parts, b',"jobs":[', encoded, b"]}"), encoded)
