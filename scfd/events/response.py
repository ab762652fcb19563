"""Reads what a plugin responds: what HTTP carries, and the results of any plugin."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from scfd.events.event import TaskResult, TaskStatus, TriggerResponse
from scfd.events.long_json import from_long_json
from scfd.events.wire import from_json, to_json

#: What ``task_results`` is taken for, without its underscores and in lower case.
_MISTAKEN = frozenset({"result", "results", "taskresult", "taskresults"})
#: Characters that the result of one task may have, and the words of a task that has failed.
LONGEST_RESULT, LONGEST_WORDS = 1 << 20, 2000
#: What a response to a task has that is no result in itself.
_RESULT_KEYS = frozenset({"task_id", "status", "result"})
#: Of a plugin that takes tasks for whole events.
_SEVERAL = "the response has task_results"
#: Characters of a wrong value that a log line shows.
_SHOWN = 60


class WrongResultError(ValueError):
    """What a plugin has returned for a task is no result. It would return the same another time."""


def parse_response(body: bytes) -> tuple[TriggerResponse, str]:
    """
    One of `LONG` bytes is best read in a thread.

    :returns: the response, and what was odd about the body: empty when nothing was.
    """
    if not body.strip():
        return TriggerResponse(), "the body is empty"
    try:
        value = from_long_json(body)
    except ValueError as error:
        return TriggerResponse(), f"the body is not JSON: {error}"
    if not isinstance(value, dict):
        return TriggerResponse(), "the body is not a JSON object"
    results, unstored = value.get("task_results"), _unstored(value)
    if results is None:
        return TriggerResponse(unstored=unstored), _mistaken(value)
    if not isinstance(results, list):
        return TriggerResponse(unstored=unstored), "task_results is not a list"
    # Each entry is freed when it has been read: to free 50,000 at once would hold every thread for 20 ms.
    results.reverse()
    return TriggerResponse(tuple([_result(results.pop()) for _ in range(len(results))]), unstored), ""


def _unstored(value: dict[str, Any]) -> int:
    """How many data points a response has: those of its own, and those of its groups."""
    groups = value.get("write_groups") or []
    count = _length(value.get("data_points"))
    for group in groups if isinstance(groups, list) else [groups]:
        count += _length(group.get("data_points")) if isinstance(group, dict) else 1
    return count


def _length(points: Any) -> int:
    return len(points) if isinstance(points, list) else int(points is not None)


def _mistaken(value: dict[str, Any]) -> str:
    """What a body without ``task_results`` seems to have in their place."""
    if "task_id" in value and "status" in value:
        return "the body is a single result"
    for key in value:
        if key != "task_results" and key.lower().replace("_", "").replace("-", "") in _MISTAKEN:
            return f"the body has {shown(key)} and no 'task_results'"
    return ""


def _result(entry: Any) -> TaskResult:
    """A result as it came; see `usable_result`."""
    if not isinstance(entry, dict):
        return entry  # type: ignore[no-any-return]
    status = entry.get("status")
    if isinstance(status, float) and status.is_integer():
        status = int(status)
    text = entry.get("result")
    return TaskResult(entry.get("task_id"), status, "" if text is None else text)  # type: ignore[arg-type]


def usable_result(result: object) -> TaskResult:
    """
    :returns: the result as a control plane can take it: its ``result`` is a text.
    :raises ValueError: when none can take it; says what is wrong, and what was expected.
    """
    if not isinstance(result, TaskResult):
        raise ValueError(f"it is {shown(result)}, expected a task result with task_id and status")
    if result.is_usable():
        return result
    if not isinstance(result.task_id, str) or not result.task_id:
        raise ValueError(f"task_id is {shown(result.task_id)}, expected that of a task, a text")
    text = evolve(result, result=_text(result.result))
    if not text.is_usable():
        raise ValueError(
            f"status is {shown(result.status)}, expected 0 to 4, such as 2 for success and 4 for failure"
        )
    return text


def _text(value: object) -> str:
    """
    :returns: a text as it is, None as an empty one, any other value as JSON.
    :raises ValueError: when JSON does not have it.
    """
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return to_json(value).decode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"result is {shown(value)}, expected a text or a JSON value") from None


def shown(value: object) -> str:
    """A wrong value as a log line shows it."""
    if value is None:
        return "missing"
    try:
        text = repr(value)
    except Exception:  # a plugin's own class may fail at that
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def failed_result(task_id: str, words: str) -> TaskResult:
    """The result of a task that has failed."""
    return TaskResult(task_id, TaskStatus.FAILED, words[:LONGEST_WORDS])


def task_result(value: object, task_id: str) -> TaskResult:
    """
    What a task plugin has returned for a task, as the task's result.

    :raises WrongResultError: it is of no use.
    """
    if isinstance(value, dict) and "task_results" in value:
        raise WrongResultError(f"{_SEVERAL}, expected the result of one task, such as a text")
    given = value if isinstance(value, TaskResult) else TaskResult(task_id, TaskStatus.SUCCESS, value)  # type: ignore[arg-type]
    if given.task_id != task_id:
        raise WrongResultError(f"its result has task_id {shown(given.task_id)}, expected {task_id!r}")
    try:
        result = usable_result(given)
    except ValueError as error:
        raise WrongResultError(str(error)) from None
    if len(result.result) > LONGEST_RESULT:
        found = f"its result has {len(result.result)} characters"
        raise WrongResultError(f"{found}, expected {LONGEST_RESULT} at most")
    return result


def parse_task_response(body: bytes, task_id: str) -> TaskResult:
    """
    What a plugin behind HTTP has responded to a task, as the task's result: see `task_result`.

    An object of ``status`` and ``result`` is the result itself; any other JSON value, or text, is the
    result of a task that has succeeded.

    :raises WrongResultError: it is of no use.
    """
    if len(body) > 4 * LONGEST_RESULT:  # UTF-8 has four bytes for a character at most
        raise WrongResultError(f"its result has {len(body)} bytes, expected {LONGEST_RESULT} at most")
    if not body.strip():
        return TaskResult(task_id, TaskStatus.SUCCESS)
    try:
        value = from_json(body)
    except ValueError:
        value = body.decode("utf-8", "replace")
    if not isinstance(value, dict):
        return task_result(value, task_id)
    if "task_results" in value:
        raise WrongResultError(f'{_SEVERAL}, expected {{"status": 2, "result": …}} of one task')
    if not value.keys() <= _RESULT_KEYS or value.keys() == {"task_id"}:
        return task_result(value, task_id)
    given = {"task_id": task_id, "status": int(TaskStatus.SUCCESS), **value}
    return task_result(_result(given), task_id)


def message_response(value: object) -> TriggerResponse:
    """What a task plugin has returned for a message; see `usable_result` for the results."""
    if value is None or isinstance(value, TriggerResponse):
        return value or TriggerResponse()
    return TriggerResponse(tuple(value) if isinstance(value, (list, tuple)) else (value,))  # type: ignore[arg-type]
