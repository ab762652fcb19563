"""
What the development control plane responds to browsers, and to nodes in each generation of the protocol.

What a real server of the generation refuses, it refuses.
"""

from __future__ import annotations

from typing import Any

from twisted.web.http_headers import Headers

from scfd.control_plane.generations import (
    HEARTBEAT_FIELDS,
    INTERNAL,
    INVALID,
    NO_PERMISSION,
    NOT_FOUND,
    OK,
    PREFIXES,
)
from scfd.control_plane.signing import Signer
from scfd.dev.state import ControlPlaneState, UnknownNodeError
from scfd.events.wire import from_json
from scfd.pages import PageRoutes
from scfd.web import Response, route

HEARTBEAT = "/cloudnode/ReportHeartbeatInner"
REPORT = "/collectmgr/ReportTaskStatus"
_SIGNED = PREFIXES[2]
#: Framework codes of generation 3.
_NOT_DECODED, _NO_SUCH_METHOD, _NO_SUCH_SERVICE = 1, 12, 999
_NO_SUCH_PATH = Response(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})


def _momentary(value: object) -> Response:
    """A JSON response that must not be cached."""
    return Response.json(value, headers={"Cache-Control": "no-store"})


def refusal(status: int, text: str) -> Response:
    return Response.json({"code": status, "message": text}, status)


def json_object(body: bytes) -> dict[str, Any]:
    """:raises ValueError: the body is not a JSON object."""
    try:
        value = from_json(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the body is not a JSON object")
    return value


def require(report: dict[str, Any], name: str, kind: type, empty: bool = False) -> Any:
    """
    :param empty: an empty text is fine.
    :raises ValueError: the field is missing or of another kind.
    """
    value = report.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or (value == "" and not empty):
        expected = "an integer" if kind is int else "text" if empty else "text that is not empty"
        raise ValueError(f"{name}: {expected} is expected")
    return value


def behind_gateway(response: Response) -> Response:
    """How the gateway of generations 1 and 2 passes on an error of its service; the reason is ours."""
    if response.status < 400:
        return response
    text = f"request failed with status {response.status}"
    reason = from_json(response.body)["message"]
    return Response.json({"code": 500, "message": text, "reason": reason}, 500)


def return_info(code: int, text: str = "", framework: bool = False, **fields: Any) -> Response:
    """
    A response of generation 3.

    :param framework: whether the server's RPC framework responds, and not the service.
    """
    trpc_ret = {"Trpc-Ret": str(code)} if framework else {}
    return Response.json({"ret_info": {"code": code, "msg": text}, **fields}, headers=trpc_ret)


class ControlPlaneRoutes(PageRoutes):
    """
    What a browser and a developer ask for. The subclasses add the calls of nodes, a class a generation.

    :param keys: the node's, with which calls have to be signed.
    """

    page_name = "control_plane"

    def __init__(self, state: ControlPlaneState, keys: Signer | None) -> None:
        self._state = state
        self._keys = keys

    @route("GET HEAD", "/state")
    def state(self, headers: Headers, body: bytes) -> Response:
        return _momentary(self._state.as_json())

    @route("GET HEAD", "/faults")
    def faults(self, headers: Headers, body: bytes) -> Response:
        return _momentary(self._state.faults.as_json())

    @route("POST", "/faults")
    def switch_faults(self, headers: Headers, body: bytes) -> Response:
        try:
            self._state.switch_faults(json_object(body))
        except ValueError as mistake:
            return refusal(400, str(mistake))
        return self.faults(headers, body)

    def methods(self, path: bytes) -> list[str]:
        """The HTTP methods that a path has; empty for an unknown path."""
        return sorted(method.decode() for method, known in self._table() if known == path)

    def elsewhere(self, path: str) -> Response:
        """The response to a POST, as nodes make them, to a path that has no route."""
        return _NO_SUCH_PATH


class Generation1(ControlPlaneRoutes):
    """The calls of nodes at a server of generation 1."""

    @route("POST", "/gateway" + HEARTBEAT)
    def heartbeat(self, headers: Headers, body: bytes) -> Response:
        return behind_gateway(self._heartbeat(body))

    def _heartbeat(self, body: bytes) -> Response:
        """The service's own response."""
        try:
            report = {"running_version": "", "node_type": "", "tasks_md5": "", **json_object(body)}
            require(report, "node_id", str)
            for name in ("running_version", "node_type", "tasks_md5"):
                require(report, name, str, empty=True)
        except ValueError as mistake:
            return refusal(400, str(mistake))
        try:
            orders = self._state.heartbeat(report)
        except UnknownNodeError as error:
            return refusal(500, str(error))
        return Response.json({"code": 200, "message": "heartbeat reported successfully", "data": [orders]})

    @route("POST", "/gateway" + REPORT)
    def task_status(self, headers: Headers, body: bytes) -> Response:
        return behind_gateway(self._task_status(body))

    def _task_status(self, body: bytes) -> Response:
        """The service's own response."""
        try:
            report = {"result": "", "node_id": "", "status": 0, **json_object(body)}
            task_id = require(report, "id", str)
            if not report["node_id"] or report["status"] == 0 or set(task_id) & set("#%/"):
                # The real one takes 0 for no status, and puts the id into a URL.
                return refusal(400, "expected a node_id, a status other than 0, and an id without # % /")
            node_id = require(report, "node_id", str)
            status = require(report, "status", int)
            text = require(report, "result", str, empty=True)
        except ValueError as mistake:
            return refusal(400, str(mistake))
        if task_id in self._state.faults.refuse:
            return refusal(404, f"reports of {task_id} are refused: a fault that is switched on")
        self._state.result(task_id, node_id, status, text)
        return Response.json({"code": 200, "message": "ok"})

    def elsewhere(self, path: str) -> Response:
        """Outside its node calls such a server has no permissions to give."""
        return return_info(NO_PERMISSION, "no permission")


def unsigned(keys: Signer | None, headers: Headers, body: bytes) -> Response | None:
    """:returns: the refusal of a call that is not signed with these keys; None when it is."""
    if keys is not None and keys.verifies(headers.getRawHeaders("Auth", [""])[0], body):
        return None
    return Response(401, b"service auth failed", {"Content-Type": "text/plain"})


class Generation2(Generation1):
    """The same at other paths, and signed; an error of a report is wrapped, one of a heartbeat is a code."""

    def _table(self) -> Any:
        routes = super()._table().items()
        return {key: handler for key, handler in routes if not key[1].startswith(b"/gateway/")}

    @route("POST", _SIGNED + HEARTBEAT)
    def signed_heartbeat(self, headers: Headers, body: bytes) -> Response:
        refused = unsigned(self._keys, headers, body)
        if refused:
            return refused
        response = self._heartbeat(body)
        return Response(200, response.body, response.headers)

    @route("POST", _SIGNED + REPORT)
    def signed_task_status(self, headers: Headers, body: bytes) -> Response:
        return unsigned(self._keys, headers, body) or self.task_status(headers, body)

    def elsewhere(self, path: str) -> Response:
        return _NO_SUCH_PATH


class _NotDecodedError(ValueError):
    """The body of a request is not what the server's RPC framework can read."""


def strict(body: bytes, known: set[str]) -> dict[str, Any]:
    """
    Read a request of generation 3.

    :raises ValueError: it has an unknown field; `_NotDecodedError` when it is no JSON object.
    """
    try:
        report = json_object(body or b"{}")
    except ValueError as mistake:
        raise _NotDecodedError(str(mistake)) from None
    for name in report:
        if name not in known:
            raise ValueError(f'unknown field "{name}"')
    return report


class Generation3(ControlPlaneRoutes):
    """The calls of nodes at a server of generation 3."""

    @route("POST", _SIGNED + HEARTBEAT)
    @route("POST", _SIGNED + "/cloudnode/ReportHeartbeat")
    def heartbeat(self, headers: Headers, body: bytes) -> Response:
        refused = unsigned(self._keys, headers, body)
        if refused:
            return refused
        try:
            report = strict(body, set(HEARTBEAT_FIELDS))
            for name, value in report.items():
                if not HEARTBEAT_FIELDS[name](value):
                    raise ValueError(f"{name} has another type")
            for name in ("node_id", "node_type"):
                require(report, name, str)
        except ValueError as mistake:
            return _invalid(mistake)
        try:
            orders = self._state.heartbeat({"running_version": "", "tasks_md5": "", **report})
        except UnknownNodeError as error:
            text = str(error)
            return return_info(INTERNAL, text, package_version="", tasks_md5="", task_instances=None)
        tasks = [_as_instance(task) for task in orders.pop("task_instances", ())]
        return return_info(OK, **orders, task_instances=tasks)

    @route("POST", _SIGNED + REPORT)
    def task_status(self, headers: Headers, body: bytes) -> Response:
        refused = unsigned(self._keys, headers, body)
        if refused:
            return refused
        try:
            report = {"result": "", **strict(body, {"instance_id", "node_id", "status", "result"})}
            task_id, node_id = require(report, "instance_id", str), require(report, "node_id", str)
            status = _whole(report.get("status", 0))
            text = require(report, "result", str, empty=True)
        except ValueError as mistake:
            return _invalid(mistake)
        if task_id in self._state.faults.refuse:
            return return_info(NOT_FOUND, f"reports of {task_id} are refused: a fault that is switched on")
        if all(task["task_id"] != task_id for task in self._state.tasks):
            return return_info(INTERNAL, f"no instance {task_id}")
        self._state.result(task_id, node_id, status, text)
        return return_info(OK)

    def elsewhere(self, path: str) -> Response:
        if not path.startswith(_SIGNED + "/"):
            return _NO_SUCH_PATH
        if path.startswith(tuple(f"{_SIGNED}{call.rpartition('/')[0]}/" for call in (HEARTBEAT, REPORT))):
            return return_info(_NO_SUCH_METHOD, "no such method", framework=True)
        return return_info(_NO_SUCH_SERVICE, "no such service", framework=True)


def _invalid(mistake: ValueError) -> Response:
    if isinstance(mistake, _NotDecodedError):
        return return_info(_NOT_DECODED, str(mistake), framework=True)
    return return_info(INVALID, str(mistake))


def _whole(status: Any) -> int:
    """:raises ValueError: when it is none of 2, 2.0, "2" and their like."""
    if isinstance(status, bool) or not isinstance(status, (int, float, str)) or float(status) % 1:
        raise ValueError("status: a whole number is expected")
    return int(float(status))


def _as_instance(task: dict[str, Any]) -> dict[str, Any]:
    """A task as generation 3 hands it out."""
    extra = {
        "data_type": "",
        "symbol": "",
        "interval": "",
        "is_deleted": "true" if task["invalid"] else "false",
    }
    return {**extra, **{name: value for name, value in task.items() if name != "invalid"}}


#: By the generation that ``dev.control_plane.protocol`` names.
GENERATIONS: dict[str, type[ControlPlaneRoutes]] = {"1": Generation1, "2": Generation2, "3": Generation3}
