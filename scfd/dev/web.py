"""
The development control plane over HTTP.

========================================================  =========================================
``POST /gateway/cloudnode/ReportHeartbeatInner``          a node's heartbeat; the response may have tasks
``POST /gateway/collectmgr/ReportTaskStatus``             what became of a task
``POST /faults``                                          switches faults on or off
``GET /faults``                                           which faults are on
``GET /state``                                            nodes, tasks, results and faults as JSON
``GET /``                                                 the same for a person
========================================================  =========================================

Responses are JSON, ``{"code": 200, "message": …}`` to nodes; mistakes have the code of their HTTP status.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from scfd.dev.state import ControlPlaneState
from scfd.events.wire import from_json
from scfd.web import Response, Routes, RoutesResource, route, write_response

T = TypeVar("T")

HEARTBEAT_PATH = "/gateway/cloudnode/ReportHeartbeatInner"
TASK_STATUS_PATH = "/gateway/collectmgr/ReportTaskStatus"

#: Where faults show; the page, the state and the switches themselves are never affected.
_FAULTY_PATHS = frozenset({HEARTBEAT_PATH.encode(), TASK_STATUS_PATH.encode()})

_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " connect-src 'self'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class ControlPlaneRoutes(Routes):
    """Each method here responds to one path."""

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
        return _momentary(self._state.as_json())

    @route("GET", "/faults")
    @route("HEAD", "/faults")
    def faults(self, headers: Headers, body: bytes) -> Response:
        return _momentary(self._state.faults.as_json())

    @route("POST", "/faults")
    def switch_faults(self, headers: Headers, body: bytes) -> Response:
        try:
            self._state.switch_faults(_object(body))
        except ValueError as mistake:
            return _refusal(400, str(mistake))
        return self.faults(headers, body)

    @route("POST", HEARTBEAT_PATH)
    def heartbeat(self, headers: Headers, body: bytes) -> Response:
        try:
            report = {"running_version": "", "node_type": "", "tasks_md5": "", **_object(body)}
            _require(report, "node_id", str)
            for name in ("running_version", "node_type", "tasks_md5"):
                _require(report, name, str, empty=True)
        except ValueError as mistake:
            return _refusal(400, str(mistake))
        answer = self._state.heartbeat(report)
        return Response.json({"code": 200, "message": "heartbeat reported successfully", "data": [answer]})

    @route("POST", TASK_STATUS_PATH)
    def task_status(self, headers: Headers, body: bytes) -> Response:
        try:
            report = {"result": "", **_object(body)}
            task_id = _require(report, "id", str)
            node_id = _require(report, "node_id", str)
            status = _require(report, "status", int)
            text = _require(report, "result", str, empty=True)
        except ValueError as mistake:
            return _refusal(400, str(mistake))
        if task_id in self._state.faults.refuse:
            return _refusal(404, f"reports of {task_id} are refused: a fault that is switched on")
        self._state.result(task_id, node_id, status, text)
        return Response.json({"code": 200, "message": "ok"})

    def methods(self, path: bytes) -> list[str]:
        """The HTTP methods that a path has; empty for an unknown path."""
        return sorted(method.decode() for method, known in self._table() if known == path)


def _momentary(value: object) -> Response:
    """A JSON response that must not be cached."""
    answer = Response.json(value)
    return Response(200, answer.body, {**answer.headers, "Cache-Control": "no-store"})


def _refusal(status: int, text: str) -> Response:
    return Response.json({"code": status, "message": text}, status)


def _object(body: bytes) -> dict[str, Any]:
    """:raises ValueError: the body is not a JSON object."""
    try:
        value = from_json(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the body is not a JSON object")
    return value


def _require(report: dict[str, Any], name: str, kind: type, empty: bool = False) -> Any:
    """
    :param empty: an empty text is fine.
    :raises ValueError: the field is missing or of another kind.
    """
    value = report.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or (value == "" and not empty):
        expected = "an integer" if kind is int else "text" if empty else "text that is not empty"
        raise ValueError(f"{name}: {expected} is expected")
    return value


class _Elsewhere(Resource):
    """Answers requests that have no route: 404, or 405 when the path has other methods."""

    isLeaf = True

    def __init__(self, routes: ControlPlaneRoutes) -> None:
        super().__init__()
        self._routes = routes

    def render(self, request: Request) -> int:
        methods = self._routes.methods(request.uri.partition(b"?")[0])
        if methods:
            request.setHeader(b"Allow", ", ".join(methods).encode())
            write_response(_refusal(405, "this path has other methods"), request)
        else:
            write_response(_refusal(404, "there is nothing at this path"), request)
        return NOT_DONE_YET


class FaultyResource(Resource):
    """
    Another resource, with the faults that are switched on.

    :param behind: finishes requests itself: its ``render`` returns `NOT_DONE_YET`.
    :param state: knows the faults.
    :param clock: an `IReactorTime`.
    """

    isLeaf = True

    def __init__(self, behind: IResource, state: ControlPlaneState, clock: Any) -> None:
        super().__init__()
        self._behind = behind
        self._state = state
        self._clock = clock
        self._late: set[Deferred[None]] = set()

    def render(self, request: Request) -> int:
        faults = self._state.faults
        if request.uri.partition(b"?")[0] not in _FAULTY_PATHS:
            self._behind.render(request)
        elif faults.slow and not faults.down:
            late = Deferred.fromCoroutine(self._answer_late(request, faults.slow))
            self._late.add(late)
            late.addBoth(self._forget, late)
            request.notifyFinish().addErrback(lambda gone: late.cancel())
        else:
            self._answer(request)
        return NOT_DONE_YET

    async def _answer_late(self, request: Request, seconds: float) -> None:
        try:
            await deferLater(self._clock, seconds)
        except CancelledError:
            request.loseConnection()  # does nothing when it is the client that has gone
        else:
            self._answer(request)

    def _forget(self, result: T, late: Deferred[None]) -> T:
        self._late.discard(late)
        return result

    def _answer(self, request: Request) -> None:
        """The faults count that are on now: they may have been switched while a request was waiting."""
        faults = self._state.faults
        if faults.down:
            transport: Any = request.transport  # abortConnection is the business of TCP's transports only
            transport.abortConnection()
        elif faults.status:
            write_response(_refusal(faults.status, "a fault that is switched on"), request)
        else:
            self._behind.render(request)

    def close(self) -> None:
        """Close the connections that wait for a late response."""
        for late in tuple(self._late):
            late.cancel()


def resource_tree(state: ControlPlaneState, clock: Any) -> FaultyResource:
    """
    Everything the control plane serves, without a port to serve it on.

    :param clock: an `IReactorTime`, for late responses.
    """
    routes = ControlPlaneRoutes(state)
    return FaultyResource(RoutesResource(routes, _Elsewhere(routes)), state, clock)
