"""Reads what a plugin behind HTTP answered to an event."""

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
    results = value.get("task_results")
    if results is None:
        return TriggerResponse(), ""
    if not isinstance(results, list):
        return TriggerResponse(), "task_results is not a list"
    return TriggerResponse(tuple(_result(entry) for entry in results)), ""


def _result(entry: Any) -> TaskResult:
    """A result as it came; one that can't be used is told by `TaskResult.is_usable`."""
    if not isinstance(entry, dict):
        return TaskResult("", 0)
    status = entry.get("status")
    if isinstance(status, float) and status.is_integer():
        status = int(status)
    text = entry.get("result")
    return TaskResult(entry.get("task_id", ""), status, text if isinstance(text, str) else "")  # type: ignore[arg-type]
