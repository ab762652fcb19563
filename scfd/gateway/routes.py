"""What the gateway answers itself."""

from __future__ import annotations

from twisted.web.http_headers import Headers

from scfd.control_plane.probe import ProbeHandler
from scfd.identity import Identity, State
from scfd.web import Response, Routes, route, shows_token

_HEALTH = {State.STARTING: "starting", State.RUNNING: "healthy", State.STOPPING: "stopping"}


class GatewayRoutes(Routes):
    """
    ``/health`` for the platform, ``/probe`` for the control plane.

    :param probe_token: when not empty, what a probe must show as ``Authorization: Bearer <token>``.
    """

    def __init__(self, identity: Identity, probe: ProbeHandler, probe_token: str = "") -> None:
        self._identity = identity
        self._probe = probe
        self._probe_token = probe_token

    @route("GET", "/health")
    @route("HEAD", "/health")
    def health(self, headers: Headers, body: bytes) -> Response:
        """200 from the moment the plugin is initialised until the node drains; 503 otherwise."""
        state = self._identity.state
        return Response.json({"status": _HEALTH[state]}, 200 if state is State.RUNNING else 503)

    @route("POST", "/probe")
    def probe(self, headers: Headers, body: bytes) -> Response:
        if not shows_token(headers, self._probe_token):
            return self._probe.unauthorised()
        return self._probe.handle(body)
