"""What the gateway serves itself: ``/health`` for the platform, ``/probe`` for the control plane."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from scfd.control_plane.probe import ProbeHandler
from scfd.http1.contract import Caller, LocalResponders, Request
from scfd.http1.heads import ForwardingHeaders
from scfd.status.readiness import Phase, Readiness
from scfd.web import DEFAULT_MAX_BODY, Bound, Response, Routes, has_json, route, shows_token

_log = Logger(namespace="scfd.gateway")

#: How the plugin learns who the caller is.
FORWARDED = ForwardingHeaders(
    address=b"X-Forwarded-For",
    scheme=b"X-Forwarded-Proto",
    host=b"X-Forwarded-Host",
    marks=((b"gateway-tag", b"forward"),),
)
_HEALTH = {Phase.STARTING: "starting", Phase.RUNNING: "healthy", Phase.STOPPING: "stopping"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class GatewayRoutes(Routes):
    """:param probe_token: when not empty, what a probe must show as ``Authorization: Bearer <token>``."""

    def __init__(self, readiness: Readiness, probe: ProbeHandler, probe_token: str = "") -> None:
        self._readiness = readiness
        self._probe = probe
        self._probe_token = probe_token

    @route("GET HEAD", "/health")
    def health(self, headers: Headers, body: bytes) -> Response:
        """200 from the moment the plugin is initialised until the node drains; 503 otherwise."""
        phase = self._readiness.phase
        return Response.json({"status": _HEALTH[phase]}, 200 if phase is Phase.RUNNING else 503)

    @route("POST", "/probe")
    def probe(self, headers: Headers, body: bytes) -> Response:
        """What the control plane asks the node: see `ProbeHandler`."""
        if not shows_token(headers, self._probe_token):
            return self._probe.unauthorised()
        if not has_json(headers):
            return self._probe.not_json()
        if headers.hasHeader(b"origin") or headers.hasHeader(b"sec-fetch-site"):
            return self._probe.from_a_page()
        return self._probe.handle(body)


class DetailedRoutes(GatewayRoutes):
    """The same, with what the admin endpoint says of the node's health, for those who can't reach that."""

    @route("GET HEAD", "/-/live")
    def live(self, headers: Headers, body: bytes) -> Response:
        """200 as long as the reactor turns."""
        return Response.json({"status": "live"})

    @route("GET HEAD", "/-/startup")
    def startup(self, headers: Headers, body: bytes) -> Response:
        """200 once the node has started."""
        return Response.json(*self._readiness.startup())

    @route("GET HEAD", "/-/ready")
    def ready(self, headers: Headers, body: bytes) -> Response:
        """Problems and warnings; 503 while there is a problem."""
        return Response.json(*self._readiness.report())


#: Where a plugin behind HTTP gets its events, tasks and messages.
EVENT_PATHS = ("/on-trigger", "/on-task", "/on-message")


def served_locally(
    routes: Routes, max_body: int, events_at: str | None = None, paths: Sequence[str] = EVENT_PATHS[:1]
) -> LocalResponders:
    """
    :param max_body: bytes that a request may have.
    :param events_at: the path of the plugin's URL, where no caller may make events; None to
        let them.
    :param paths: which of `EVENT_PATHS` there are.
    :returns: who responds to requests that have a route, or would be taken for events; see
        `scfd.http1.contract.LocalResponders`.
    """
    limit = min(max_body, DEFAULT_MAX_BODY)
    events = [] if events_at is None else [_plain(events_at + path) for path in paths]

    def responder(caller: Caller, request: Request) -> LocalResponse | None:
        handler = routes.handler(request.method, request.path)
        if handler is not None:
            return LocalResponse(caller, request, handler, limit)
        # Not every plugin looks at the method: whatever brings a body may make an event.
        if not events or (request.method.upper() != b"POST" and request.length == 0):
            return None
        if _plain(f"{events_at}{request.path.decode('latin-1')}") in events:
            return LocalResponse(caller, request, no_such_path, limit=None)
        return None

    return responder


def _plain(path: str) -> list[str]:
    """
    The parts of a path as a lenient program reads it: percent-decoded, without empty parts and parameters,
    with ``.`` and ``..`` followed, in lower case, up to a NUL, where C ends a text. Events must not be
    made by another spelling either.
    """
    parts: list[str] = []
    for part in re.split(r"[/\\]", unquote(unquote(path)).partition("\0")[0].lower()):
        name = part.partition(";")[0].partition("?")[0].partition("#")[0].strip()
        if name == "..":
            del parts[-1:]
        elif name not in ("", "."):
            parts.append(name)
    return parts


def no_such_path(headers: object, body: bytes) -> Response:
    """What nobody serves."""
    return Response.json({"message": "no such path"}, 404)


class LocalResponse:
    """
    A `scfd.http1.contract.Responder` that calls a declared route.

    :param limit: bytes that the body may have; None when nobody looks at it.
    """

    def __init__(self, caller: Caller, request: Request, handler: Bound, limit: int | None) -> None:
        self._caller = caller
        self._request = request
        self._handler = handler
        self._limit = limit
        self._body: list[bytes] = []
        self._length = 0
        self._response: Deferred[Any] | None = None

    def start(self) -> None:
        if self._request.length == 0:
            self.on_body_end()
        elif self._is_too_long(self._request.length or 0):
            self._caller.fail(413, "the body is too long")
        elif self._request.expects_continue:
            self._caller.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        self._length += len(data)
        if self._is_too_long(self._length):
            self._caller.fail(413, "the body is too long")
        elif self._limit is not None:
            self._body.append(data)

    def _is_too_long(self, length: int) -> bool:
        return self._limit is not None and length > self._limit

    def on_body_end(self) -> None:
        headers = Headers()
        for name, value in self._request.headers:
            headers.addRawHeader(name, value)
        self._response = maybeDeferred(self._handler, headers, b"".join(self._body))
        self._response.addErrback(self._failed)
        self._response.addCallback(self._respond)

    def _failed(self, failure: Failure) -> Response | None:
        if failure.check(CancelledError):
            return None
        _log.failure("a request could not be handled", failure)
        return Response.json({"message": "internal error"}, 500)

    def _respond(self, response: Response | None) -> None:
        if response is not None:
            self._caller.respond(response)

    def flush(self) -> None:
        """Nothing is passed on."""

    def on_caller_writable(self, writable: bool) -> None:
        """The response is written as a whole."""

    def abandon(self) -> None:
        if self._response is not None:
            self._response.cancel()
