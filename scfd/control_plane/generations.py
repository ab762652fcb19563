"""
The three generations of the control plane's protocol: what differs between them, as plain functions.

==========  ================================  ===========================  ==============  ===============
generation  path                              response                     deleted task    task of a report
==========  ================================  ===========================  ==============  ===============
1           ``/gateway/{service}/{method}``   ``{code, message, data}``    ``invalid``     ``id``
2           ``/api/service/…``, signed        the same                     the same        the same
3           the same as 2                     ``{ret_info: {code, msg}}``  ``is_deleted``  ``instance_id``
==========  ================================  ===========================  ==============  ===============

Generation 3 refuses requests with a field that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from scfd.control_plane.client import ServerResponse
from scfd.events.event import TaskResult, TaskStatus
from scfd.events.long_json import from_long_json

#: First part of the paths. A configured prefix that is not one of these is used for every generation.
PREFIXES = {1: "/gateway", 2: "/api/service", 3: "/api/service"}

_WRAPPED = re.compile(rb"request failed with status (\d{3})")
#: Business codes of generation 3; larger ones are of its RPC framework.
OK, INVALID, NO_AUTH, NO_PERMISSION, INTERNAL, NOT_FOUND = range(6)
#: Framework codes for which another try ends the same way: the body can't be decoded, no such method.
_FINAL_FRAMEWORK_CODES = (1, 12)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


#: The fields of a heartbeat that generation 3 knows, and what each may be; any other refuses the request.
HEARTBEAT_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "node_id": _is_text,
    "node_type": _is_text,
    "running_version": _is_text,
    "source_service": _is_text,
    "timestamp": _is_text,
    "metrics": _is_object,
    "metadata": _is_object,
    "supported_collectors": _are_texts,
    "tasks_md5": _is_text,
    "local_dns_records": _are_objects,
}


def path(generation: int, method: str, prefix: str) -> str:
    """
    :param method: service and method, such as ``/cloudnode/ReportHeartbeatInner``.
    :param prefix: the configured one.
    """
    return (PREFIXES[generation] if prefix in PREFIXES.values() else prefix) + method


def heartbeat_request(generation: int, message: Mapping[str, Any]) -> dict[str, Any]:
    """
    A heartbeat as this generation takes it.

    :param message: the fields, those of the plugin included. For generation 3 those that the server does
        not know, or that have a type it refuses, go into ``metadata``.
    """
    if generation < 3:
        return dict(message)
    known: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in message.items():
        fits = HEARTBEAT_FIELDS.get(name)
        (known if fits is not None and fits(value) else others)[name] = value
    return {**known, "metadata": {**known.get("metadata", {}), **others}}


def report_request(generation: int, node_id: str, result: TaskResult) -> dict[str, Any]:
    """A task result as this generation takes it."""
    status = result.status
    if generation < 3 and status == TaskStatus.PENDING:
        status = TaskStatus.RUNNING  # these servers take 0 for a missing status, and refuse it
    task = "id" if generation < 3 else "instance_id"
    return {task: result.task_id, "node_id": node_id, "status": int(status), "result": result.result}


@frozen
class ReturnInfo:
    """
    ``ret_info`` of a response of generation 3.

    :ivar framework: whether the server's RPC framework responded, and not the service.
    """

    code: int
    text: str
    framework: bool

    @property
    def final(self) -> bool:
        """For framework codes: whether another try would end the same way."""
        return self.code in _FINAL_FRAMEWORK_CODES

    @property
    def unknown_field(self) -> bool:
        """Whether the request had a field of another generation; the framework, too, may be who found it."""
        return self.code == INVALID and "unknown field" in self.text


def decoded(response: ServerResponse) -> Any:
    """
    :returns: the body as a JSON value; None when it is not JSON. Tasks of generation 3 have ``invalid``, as
        those of the others do: plugins know that field.
    """
    try:
        value = from_long_json(response.body)
    except ValueError:
        return None
    tasks = value.get("task_instances") if isinstance(value, dict) else None
    for task in tasks if isinstance(tasks, list) else ():
        if isinstance(task, dict) and "is_deleted" in task:
            task["invalid"] = int(str(task["is_deleted"]).lower() == "true")
    return value


def return_info(value: Any, response: ServerResponse) -> ReturnInfo | None:
    """
    :param value: the decoded body.
    :returns: None when the response is not one of generation 3.
    """
    info = value.get("ret_info") if isinstance(value, dict) else None
    if not isinstance(info, dict):
        return None
    code = info.get("code")
    if isinstance(code, bool) or not isinstance(code, (int, float)) or int(code) != code:
        return None
    framework = response.trpc_ret not in ("", "0") or not OK <= code <= NOT_FOUND
    return ReturnInfo(int(code), str(info.get("msg") or ""), framework)


def wrapped_status(response: ServerResponse) -> int | None:
    """The status of the service behind a gateway of generation 1 or 2, where that responds 500 instead."""
    found = _WRAPPED.search(response.body[:2000]) if response.status == 500 else None
    return int(found[1]) if found else None


def may_be_generation_1(info: ReturnInfo | None) -> bool:
    """
    Whether a response of the shape of generation 3 may be one of a generation 1 server: that responds
    with code 3 to every path outside ``/gateway``.
    """
    return info is not None and info.code == NO_PERMISSION and not info.framework


def spoken(asked: int, value: Any, response: ServerResponse) -> int | None:
    """
    Which generation a response proves.

    :param asked: the generation whose form the request had.
    :param value: the decoded body.
    :returns: None when it proves none: any proxy can send a 404 or an empty 200.
    """
    if wrapped_status(response) is not None:
        return 2 if asked == 3 else asked
    if response.status != 200 or not isinstance(value, dict):
        return None
    info = return_info(value, response)
    if info is not None:
        return None if asked != 1 and may_be_generation_1(info) else 3
    code = value.get("code")
    if isinstance(code, (int, float)) and not isinstance(code, bool):
        return 2 if asked == 3 else asked
    return None


def is_success(value: Any, response: ServerResponse) -> bool:
    """Whether a response accepts the request by its own words, whichever generation it is of."""
    info = return_info(value, response)
    if info is not None:
        return info.code == OK
    return response.status == 200 and isinstance(value, dict) and value.get("code") == 200
