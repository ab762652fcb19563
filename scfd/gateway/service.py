"""The gateway as a service: a listener that waits for the requests under way before it stops."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Request
from zope.interface import implementer

from scfd.config import Gateway as Settings
from scfd.inflight import InFlight
from scfd.interfaces import IDrainable
from scfd.listener import Listener
from scfd.metrics import Metrics
from scfd.web import QuietSite


@implementer(IDrainable)
class Gateway(Listener):
    """
    :param resource: the whole of what it serves.
    :param forwarding: the requests that are being forwarded.
    """

    def __init__(
        self, settings: Settings, resource: IResource, forwarding: InFlight, metrics: Metrics, reactor: Any
    ) -> None:
        def count(request: Request) -> None:
            metrics.gateway_requests.labels(str(request.code)).inc()

        site = QuietSite(resource, count, settings.max_body)
        super().__init__("gateway.listen", settings.listen, site, reactor)
        self._forwarding = forwarding

    def drain(self) -> Deferred[None]:
        """
        Wait for the requests under way: see `IDrainable`. The port stays open meanwhile, so that
        ``/health`` can say that the node is stopping.
        """
        return self._forwarding.drained()
