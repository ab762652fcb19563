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

Responses are JSON. Nodes are spoken to in one generation of the protocol; the two paths above are those of
the first, the others have ``/api/service`` in place of ``/gateway``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from scfd.control_plane.signing import Signer
from scfd.dev.routes import GENERATIONS, ControlPlaneRoutes, refusal
from scfd.dev.state import ControlPlaneState
from scfd.site import RoutesResource, write_response

T = TypeVar("T")

#: Where faults show; the page, the state and the switches themselves are never affected.
_FAULTY_PATHS = (b"/gateway/", b"/api/service/")


class _Elsewhere(Resource):
    """Responds to requests that have no route: 404, or 405 when the path has other methods."""

    isLeaf = True

    def __init__(self, routes: ControlPlaneRoutes) -> None:
        super().__init__()
        self._routes = routes

    def render(self, request: Request) -> int:
        methods = self._routes.methods(request.uri.partition(b"?")[0])
        if methods:
            request.setHeader(b"Allow", ", ".join(methods).encode())
            write_response(refusal(405, "this path has other methods"), request)
        elif request.method == b"POST":
            path = request.uri.partition(b"?")[0].decode("ascii", "replace")
            write_response(self._routes.elsewhere(path), request)
        else:
            write_response(refusal(404, "there is nothing at this path"), request)
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
        if not request.uri.startswith(_FAULTY_PATHS):
            self._behind.render(request)
        elif faults.slow and not faults.down:
            late = Deferred.fromCoroutine(self._respond_late(request, faults.slow))
            self._late.add(late)
            late.addBoth(self._forget, late)
            request.notifyFinish().addErrback(lambda gone: late.cancel())
        else:
            self._respond(request)
        return NOT_DONE_YET

    async def _respond_late(self, request: Request, seconds: float) -> None:
        try:
            await deferLater(self._clock, seconds)
        except CancelledError:
            request.loseConnection()  # does nothing when it is the client that has gone
        else:
            self._respond(request)

    def _forget(self, result: T, late: Deferred[None]) -> T:
        self._late.discard(late)
        return result

    def _respond(self, request: Request) -> None:
        """The faults count that are on now: they may have been switched while a request was waiting."""
        faults = self._state.faults
        if faults.down:
            transport: Any = request.transport  # abortConnection is the business of TCP's transports only
            transport.abortConnection()
        elif faults.status:
            write_response(refusal(faults.status, "a fault that is switched on"), request)
        else:
            self._behind.render(request)

    def close(self) -> None:
        """Close the connections that wait for a late response."""
        for late in tuple(self._late):
            late.cancel()


def resource_tree(
    state: ControlPlaneState, clock: Any, protocol: str = "1", keys: Signer | None = None
) -> FaultyResource:
    """
    Everything the control plane serves, without a port to serve it on.

    :param clock: an `IReactorTime`, for late responses.
    :param protocol: the generation that nodes are spoken to in.
    :param keys: see `ControlPlaneRoutes`.
    """
    routes = GENERATIONS[protocol](state, keys)
    return FaultyResource(RoutesResource(routes, _Elsewhere(routes)), state, clock)
