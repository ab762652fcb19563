"""Every implementation keeps the contract it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from zope.interface import implementedBy
from zope.interface.verify import verifyClass, verifyObject

import scfd.interfaces
from scfd.adapter.calls import PluginClient
from scfd.adapter.http import HttpAdapter
from scfd.config import GatewaySettings, HttpAdapterSettings
from scfd.gateway.routes import FORWARDED
from scfd.gateway.service import Gateway
from scfd.http1.forward import Forwarder
from scfd.http1.heads import Route
from scfd.http1.pool import Pool
from scfd.interfaces import IAdapter, IDrainable, IFramework, IReports, ITaskAdapter, ITrigger
from scfd.site import NoSuchPath, RoutesResource
from scfd.status.context import Context
from scfd.testing import Node
from scfd.web import Routes
from tests.fakes import FakeAdapter, FakeService, MemoryReports
from tests.gateway_fakes import make_front
from tests.http1_fakes import AT_ONCE, FakeConnector
from tests.nodes import Plugin, queue


def _http_adapter() -> HttpAdapter:
    pool = Pool(FakeConnector(), 1, 1.0, 1.0, Clock(), AT_ONCE)
    return HttpAdapter(
        HttpAdapterSettings(),
        PluginClient("http://127.0.0.1", pool, pool, 100, Clock()),
        None,
        Context(Clock(), lambda: 0.0),
    )


def _gateway() -> Gateway:
    backend = Forwarder(Pool(FakeConnector(), 1, 1.0, 1.0, Clock(), AT_ONCE), Route(b"", b"h", FORWARDED))
    front = make_front(GatewaySettings(), Routes(), backend, Context(Clock(), lambda: 0.0), AT_ONCE)
    return Gateway(GatewaySettings(), front, backend, Clock())


def _running(service: str) -> Callable[[], Any]:
    """A service of a whole node."""

    def make() -> Any:
        with Node(Plugin(), {"triggers": [queue("q")]}) as node:
            return node.root.getServiceNamed(service)

    return make


def _framework() -> Any:
    plugin = Plugin()
    Node(plugin).close()
    return plugin.framework


#: (the interface, what makes a provider of it)
IMPLEMENTATIONS: list[tuple[Any, Callable[[], Any]]] = [
    (IFramework, _framework),
    (ITaskAdapter, _http_adapter),
    (ITaskAdapter, _running("plugin")),
    (IAdapter, FakeAdapter),
    (IReports, _running("reports")),
    (IReports, MemoryReports),
    (ITrigger, _running("nats trigger q")),
    (ITrigger, _running("timers")),
    (IDrainable, _gateway),
    (IDrainable, lambda: FakeService("service", [])),
    (scfd.interfaces.IFunctionPlugin, Plugin),
    (IResource, lambda: RoutesResource(Routes(), Resource())),
    (IResource, NoSuchPath),
]


class InterfacesTests(SynchronousTestCase):
    def test_every_implementation(self) -> None:
        for interface, make in IMPLEMENTATIONS:
            provider = make()
            with self.subTest(interface=interface.__name__, provider=type(provider).__name__):
                self.assertTrue(verifyObject(interface, provider))
                for implemented in implementedBy(type(provider)):
                    self.assertTrue(verifyClass(implemented, type(provider), tentative=True))
