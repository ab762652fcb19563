"""The development control plane over HTTP does what the one of scfd.testing does in memory."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from scfd.control_plane.client import ControlPlaneClient
from scfd.control_plane.signing import Signer
from scfd.deferreds import from_coroutine
from scfd.dev.state import ControlPlaneState
from scfd.dev.web import resource_tree
from scfd.site import QuietSite
from tests.control_plane_contract import ControlPlaneContract
from tests.integration.daemon import reactor


class HttpControlPlaneTests(ControlPlaneContract, TestCase):
    timeout = 30

    def connect(
        self, state: ControlPlaneState, protocol: str, keys: Signer | None
    ) -> tuple[ControlPlaneClient, str]:
        site = QuietSite(resource_tree(state, reactor, protocol, keys))
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        pool = HTTPConnectionPool(reactor)
        self.addCleanup(pool.closeCachedConnections)
        http = HTTPClient(Agent(reactor, pool=pool))
        return ControlPlaneClient(http, reactor, keys), f"http://127.0.0.1:{port.getHost().port}"

    def run_body(self, body: Coroutine[Any, Any, None]) -> Deferred[None]:
        return deferLater(reactor, 0).addCallback(lambda _: from_coroutine(body))  # where the loop runs
