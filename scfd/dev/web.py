"""
The development control plane over HTTP.

========================================================  =========================================
``POST /gateway/cloudnode/ReportHeartbeatInner``          a node's heartbeat; may answer with tasks
``POST /gateway/collectmgr/ReportTaskStatus``             what became of a task
``GET /state``                                            nodes, tasks and results as JSON
``GET /``                                                 the same for a person
========================================================  =========================================

Answers are JSON, ``{"code": 200, "message": …}``; mistakes have the code of their HTTP status.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request

from scfd.dev.state import ControlPlaneState
from scfd.web import Response, Routes, RoutesResource, route
from scfd.wire import from_json, to_json

#: Bytes of a request that are accepted.
BODY_LIMIT = 1024 * 1024

_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " connect-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class _RefusedError(Exception):
    """A request can't be taken; carries the HTTP status and the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ControlPlaneRoutes(Routes):
    """Each method here answers one path."""

    def __init__(self, state: ControlPlaneState) -> None:
        self._state = state
        self._page = files("scfd.dev").joinpath("page.html").read_bytes()

    @route("GET", "/")
    @route("HEAD", "/")
    def page(self, headers: Headers, body: bytes) -> Response:
        return Response(200, self._page, _PAGE_HEADERS)

    @route("GET", "/state")
    @route("HEAD", "/state")
    def state(self, headers: Headers, body: bytes) -> Response:
        answer = Response.json(self._state.as_json())
        return Response(200, answer.body, {**answer.headers, "Cache-Control": "no-store"})

    @route("POST", "/gateway/cloudnode/ReportHeartbeatInner")
    def heartbeat(self, headers: Headers, body: bytes) -> Response:
        try:
            report = {"running_version": "", "node_type": "", "tasks_md5": "", **_object(body)}
            _require(report, "node_id", str)
            for name in ("running_version", "node_type", "tasks_md5"):
                _require(report, name, str, empty=True)
        except _RefusedError as refused:
            return _mistake(refused.status, str(refused))
        answer = self._state.heartbeat(report)
        return Response.json({"code": 200, "message": "heartbeat reported successfully", "data": [answer]})

    @route("POST", "/gateway/collectmgr/ReportTaskStatus")
    def task_status(self, headers: Headers, body: bytes) -> Response:
        try:
            report = {"result": "", **_object(body)}
            task_id = _require(report, "id", str)
            node_id = _require(report, "node_id", str)
            status = _require(report, "status", int)
            text = _require(report, "result", str, empty=True)
        except _RefusedError as refused:
            return _mistake(refused.status, str(refused))
        self._state.result(task_id, node_id, status, text)
        return Response.json({"code": 200, "message": "ok"})

    def methods(self, path: bytes) -> list[str]:
        """The HTTP methods that a path has; empty for an unknown path."""
        return sorted(method.decode() for method, known in self._table() if known == path)


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_LIMIT:
        raise _RefusedError(413, f"the body is longer than {BODY_LIMIT} bytes")
    try:
        value = from_json(body)
    except ValueError as error:
        raise _RefusedError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _RefusedError(400, "the body is not a JSON object")
    return value


def _require(report: dict[str, Any], name: str, kind: type, empty: bool = False) -> Any:
    """
    :param empty: an empty text is fine.
    :raises _RefusedError: the field is missing or of another kind.
    """
    value = report.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or (value == "" and not empty):
        expected = "an integer" if kind is int else "text" if empty else "text that is not empty"
        raise _RefusedError(400, f"{name}: {expected} is expected")
    return value


def _mistake(status: int, text: str) -> Response:
    return Response.json({"code": status, "message": text}, status)


class _Elsewhere(Resource):
    """Answers requests that have no route: 404, or 405 when the path has other methods."""

    isLeaf = True

    def __init__(self, routes: ControlPlaneRoutes) -> None:
        super().__init__()
        self._routes = routes

    def render(self, request: Request) -> bytes:
        methods = self._routes.methods(request.uri.partition(b"?")[0])
        status = 405 if methods else 404
        if methods:
            request.setHeader(b"Allow", ", ".join(methods).encode())
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", b"application/json")
        text = "this path has other methods" if methods else "there is nothing at this path"
        return to_json({"code": status, "message": text})


def resource_tree(state: ControlPlaneState) -> RoutesResource:
    """Everything the control plane serves, without a port to serve it on."""
    routes = ControlPlaneRoutes(state)
    return RoutesResource(routes, _Elsewhere(routes))
