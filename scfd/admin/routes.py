"""What operators and their monitoring ask: is it alive, is it ready, what are its figures."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.http_headers import Headers

from scfd.admin.parts import Parts, status
from scfd.admin.stream import Stream
from scfd.config import AdminSettings
from scfd.pages import PageRoutes
from scfd.site import Guarded, NoSuchPath, QuietSite, RoutesResource
from scfd.web import Response, route, shows_token


def make_site(parts: Parts, settings: AdminSettings) -> QuietSite:
    """The endpoint for operators."""
    routes = RoutesResource(AdminRoutes(parts, settings.token), NoSuchPath())
    return QuietSite(Guarded(routes, settings.hosts))


class AdminRoutes(PageRoutes):
    """
    :param token: when not empty, all but the page, ``/live`` and ``/ready`` ask for it as ``Authorization:
        Bearer <token>``. The page asks its reader for it; orchestrators' probes carry no credentials.
    """

    page_name = "node"

    def __init__(self, parts: Parts, token: str) -> None:
        self._parts = parts
        self._readiness = parts.context.readiness
        self._metrics = parts.context.metrics
        self._token = token
        self._rpc: Any = None
        self._stream = Stream(parts.context, lambda: status(parts))

    @route("GET HEAD", "/live")
    def live(self, headers: Headers, body: bytes) -> Response:
        """200 as long as the reactor turns."""
        return Response.json({"status": "live"})

    @route("GET HEAD", "/ready")
    def ready(self, headers: Headers, body: bytes) -> Response:
        """
        A list of ``{"component", "severity", "reason", "since", "advice"}``: status 503 where one of them is
        a ``problem``, 200 where there are only warnings, or none.
        """
        return Response.json(*self._readiness.report())

    @route("GET HEAD", "/startup")
    def startup(self, headers: Headers, body: bytes) -> Response:
        """200 once the node has started: ``{"status": "running"}``."""
        return Response.json(*self._readiness.startup())

    @route("GET", "/metrics")
    def metrics(self, headers: Headers, body: bytes) -> Response | Deferred[Response]:
        """Prometheus's text format."""
        if not shows_token(headers, self._token):
            return _unauthorized()
        return Deferred.fromCoroutine(self._figures())

    async def _figures(self) -> Response:
        parts: list[bytes] = []
        for part in self._metrics.exposition():
            if len(parts) > 1:
                await deferLater(self._parts.context.reactor, 0)  # everything else goes on in between
            parts.append(part)
        return Response(200, b"".join(parts), {"Content-Type": CONTENT_TYPE_LATEST})

    @route("POST", "/rpc")
    def rpc(self, headers: Headers, body: bytes) -> Response | Deferred[Response]:
        """JSON-RPC 2.0: see `scfd.admin.rpc`."""
        if not shows_token(headers, self._token):
            return _unauthorized()
        if self._rpc is None:
            # When somebody asks for it first: txJSON-RPC takes 30 ms to be imported.
            from scfd.admin.methods import groups
            from scfd.admin.rpc import Rpc

            self._rpc = Rpc(groups(self._parts), self._parts.context.reactor)
        responded: Deferred[Response] = self._rpc.respond(body)
        return responded

    @route("GET", "/events")
    def events(self, headers: Headers, body: bytes) -> Response:
        """Server-sent events: see `scfd.admin.stream`."""
        if not shows_token(headers, self._token):
            return _unauthorized()
        return self._stream.response()


def _unauthorized() -> Response:
    return Response(401, b"a Bearer token is asked for\n", {"WWW-Authenticate": "Bearer"})
