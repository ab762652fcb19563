"""What operators and their monitoring ask: is it alive, is it ready, what are its figures."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from twisted.web.http_headers import Headers

from scfd.identity import Identity
from scfd.status.context import Context
from scfd.web import Response, Routes, route, shows_token


class AdminRoutes(Routes):
    """
    :param token: when not empty, ``/metrics`` asks for it as ``Authorization: Bearer <token>``;
        ``/live`` and ``/ready`` never do, since orchestrators' probes carry no credentials.
    """

    def __init__(self, identity: Identity, context: Context, token: str) -> None:
        self._identity = identity
        self._readiness = context.readiness
        self._metrics = context.metrics
        self._token = token

    @route("GET", "/live")
    @route("HEAD", "/live")
    def live(self, headers: Headers, body: bytes) -> Response:
        """200 as long as the reactor turns."""
        return Response.json({"status": "live"})

    @route("GET", "/ready")
    @route("HEAD", "/ready")
    def ready(self, headers: Headers, body: bytes) -> Response:
        """200 with ``[]``, or 503 with a list of ``{"component", "reason", "since"}``."""
        problems = [problem.to_dict() for problem in self._readiness.problems()]
        return Response.json(problems, 503 if problems else 200)

    @route("GET", "/metrics")
    def metrics(self, headers: Headers, body: bytes) -> Response:
        """Prometheus's text format."""
        if not shows_token(headers, self._token):
            return Response(401, b"a Bearer token is asked for\n", {"WWW-Authenticate": "Bearer"})
        return Response(200, self._metrics.exposition(), {"Content-Type": CONTENT_TYPE_LATEST})
