"""Every implementation keeps the contract it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timezone
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from zope.interface import implementedBy
from zope.interface.verify import verifyClass, verifyObject

import scfd.interfaces
from scfd import build
from scfd.adapter.calls import PluginClient
from scfd.adapter.http import HttpAdapter
from scfd.adapter.native import NativeAdapter
from scfd.config import Config, GatewaySettings, HttpAdapterSettings, NatsSettings
from scfd.control_plane.client import ControlPlaneClient
from scfd.control_plane.learning import LearningClient
from scfd.events.tasks import TaskStore
from scfd.function import Framework
from scfd.gateway.routes import FORWARDED
from scfd.gateway.service import Gateway
from scfd.http1.forward import Forwarder
from scfd.http1.heads import Route
from scfd.http1.pool import Pool
from scfd.identity import Identity
from scfd.interfaces import IAdapter, IDrainable, IFramework, IReports, ITaskAdapter, ITrigger
from scfd.reports.delivery import Limits, Reports
from scfd.reports.outbox import Outbox
from scfd.reports.state_dir import Folder
from scfd.status.context import Context
from scfd.triggers.timer.trigger import Timers
from scfd.web import NoSuchPath, Routes, RoutesResource
from tests.fakes import FakeAdapter, FakeService, MemoryReports
from tests.gateway_fakes import make_front
from tests.http1_fakes import AT_ONCE, FakeConnector
from tests.http_fakes import Peer
from tests.test_native import Plugin


def _framework() -> Framework:
    return Framework(Config(), Identity("node-abc", "v1"), TaskStore())


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


def _reports() -> Reports:
    client = LearningClient(ControlPlaneClient(Peer().http(), Clock()), None)
    return Reports(
        Outbox(Folder("state"), None), client, Identity("node-abc", "v1"), Context(Clock()), Limits(100)
    )


def _nats_trigger() -> Any:
    services = build.nats_triggers(
        Config(triggers=(NatsSettings("q", "nats://127.0.0.1", "S", "c", "s.>"),)),
        lambda event: succeed(None),
        Context(Clock(), lambda: 0.0),
        build.Outside({}),
    )
    return services["nats trigger q"]


def _timers() -> Timers:
    context = Context(Clock(), float)
    return Timers([], lambda event: succeed(None), TaskStore(), timezone.utc, context)


#: (the interface, what makes a provider of it)
IMPLEMENTATIONS: list[tuple[Any, Callable[[], Any]]] = [
    (IFramework, _framework),
    (ITaskAdapter, _http_adapter),
    (ITaskAdapter, lambda: NativeAdapter(Plugin(), _framework(), None, Context(Clock()))),
    (IAdapter, FakeAdapter),
    (IReports, _reports),
    (IReports, MemoryReports),
    (ITrigger, _nats_trigger),
    (ITrigger, _timers),
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
