"""Reads the response of a plugin behind HTTP to an event."""

from __future__ import annotations

from typing import Any

from scfd.events.event import TaskResult, TriggerResponse
from scfd.events.wire import from_json


def parse_response(body: bytes) -> tuple[TriggerResponse, str]:
    """
    :returns: the response, and what was odd about the body: empty when nothing was.
    """
    if not body.strip():
        return TriggerResponse(), "the body is empty"
    try:
        value = from_json(body)
    except ValueError as error:
        return TriggerResponse(), f"the body is not JSON: {error}"
    if not isinstance(value, dict):
        return TriggerResponse(), "the body is not a JSON object"
    results, unstored = value.get("task_results"), _unstored(value)
    if results is None:
        return TriggerResponse(unstored=unstored), ""
    if not isinstance(results, list):
        return TriggerResponse(unstored=unstored), "task_results is not a list"
    return TriggerResponse(tuple(_result(entry) for entry in results), unstored), ""


def _unstored(value: dict[str, Any]) -> int:
    """How many data points a response has: those of its own, and those of its groups."""
    groups = value.get("write_groups") or []
    count = _length(value.get("data_points"))
    for group in groups if isinstance(groups, list) else [groups]:
        count += _length(group.get("data_points")) if isinstance(group, dict) else 1
    return count


def _length(points: Any) -> int:
    return len(points) if isinstance(points, list) else int(points is not None)


def _result(entry: Any) -> TaskResult:
    """A result as it came; one that can't be used is told by `TaskResult.is_usable`."""
    if not isinstance(entry, dict):
        return TaskResult("", 0)
    status = entry.get("status")
    if isinstance(status, float) and status.is_integer():
        status = int(status)
    text = entry.get("result")
    return TaskResult(entry.get("task_id", ""), status, text if isinstance(text, str) else "")  # type: ignore[arg-type]
