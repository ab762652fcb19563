"""Tests for scfd.gateway.routes and scfd.gateway.service."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from scfd.config import Address
from scfd.config import Gateway as Settings
from scfd.dispatch import Dispatcher
from scfd.errors import StartupError
from scfd.gateway.forward import Forwarder
from scfd.gateway.routes import GatewayRoutes, PluginResource
from scfd.gateway.service import Gateway
from scfd.inflight import InFlight
from scfd.metrics import Metrics
from scfd.moox.heartbeat import Heartbeat
from scfd.moox.probe import ProbeHandler
from scfd.readiness import Readiness
from scfd.runtime import Runtime, State
from scfd.tasks import TaskStore
from scfd.web import NoSuchPath, RoutesResource
from tests.fakes import FakeAdapter, MemoryReports
from tests.http_fakes import Caller, FakeControlPlaneClient, Peer


class Echo(Resource):
    """Answers with the path below it, whatever the method."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"%b %b, left %b" % (request.method, request.uri, b"/".join(request.postpath or []))


class GatewayTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        self.runtime = Runtime("node-abc", "v1", state=State.RUNNING)
        self.adapter = FakeAdapter()
        self.metrics = Metrics()
        self.plugin = Peer()
        self.in_flight = InFlight()
        store, client = TaskStore(), FakeControlPlaneClient()
        heartbeat = Heartbeat(
            client,
            self.runtime,
            store,
            self.adapter,
            9.0,
            self.metrics,
            Readiness(clock.seconds),
            clock,
            lambda version: None,
        )
        dispatcher = Dispatcher(self.adapter, self.runtime, store, MemoryReports(), self.metrics, clock)
        self.handler = ProbeHandler(
            self.runtime, store, self.adapter, heartbeat, dispatcher, self.metrics, clock.seconds, {}
        )
        self.routes = GatewayRoutes(self.runtime, self.handler)
        self.native = RoutesResource(self.routes, PluginResource(self.adapter))
        self.forwarding = RoutesResource(
            self.routes,
            Forwarder(self.plugin.agent, "http://127.0.0.1:9001", 30, self.in_flight, self.plugin.reactor),
        )


class HealthTests(GatewayTestCase):
    def test_follows_the_life_of_the_node(self) -> None:
        for state, status, word in (
            (State.STARTING, 503, "starting"),
            (State.RUNNING, 200, "healthy"),
            (State.STOPPING, 503, "stopping"),
        ):
            with self.subTest(state=state):
                self.runtime.state = state
                answer = Caller(self.native).request("GET", "/health")
                self.assertEqual((answer.status, answer.json()), (status, {"status": word}))
                self.assertEqual(answer.header("content-type"), ["application/json"])
                answer = Caller(self.native).request("HEAD", "/health?now")
                self.assertEqual((answer.status, answer.body), (status, b""))


class ProbeTests(GatewayTestCase):
    def probe(self, body: bytes) -> tuple[int, Any]:
        answer = Caller(self.native).request("POST", "/probe", body=body)
        return answer.status, answer.json()

    def test_is_answered(self) -> None:
        status, answer = self.probe(
            json.dumps({"request_id": "7", "server_ip": "h", "server_port": 1}).encode()
        )
        self.assertEqual((status, answer["success"], answer["request_id"]), (200, True, "7"))
        self.assertEqual(self.runtime.server.base_url, "http://h:1")

    def test_a_bad_one(self) -> None:
        for body in (b"", b"[]", b"\xff"):
            status, answer = self.probe(body)
            self.assertEqual((status, answer["success"]), (400, False))

    def test_a_token_that_it_has_to_show(self) -> None:
        routes = GatewayRoutes(self.runtime, self.handler, probe_token="s3cret")
        guarded = RoutesResource(routes, NoSuchPath())
        for header, status in (("Bearer s3cret", 200), ("Bearer x", 401), ("s3cret", 401), ("", 401)):
            with self.subTest(header=header):
                answer = Caller(guarded).request("POST", "/probe", f"Authorization: {header}", body=b"{}")
                self.assertEqual((answer.status, answer.json()["success"]), (status, status == 200))
                self.assertNotIn(b"s3cret", answer.body)
        probe = b'{"server_ip": "h", "server_port": 1}'
        self.assertEqual(Caller(guarded).request("POST", "/probe", body=probe).status, 401)
        self.assertEqual(self.runtime.server.base_url, "")

    def test_is_answered_in_every_part_of_the_life(self) -> None:
        for state in State:
            self.runtime.state = state
            self.assertEqual(self.probe(b"{}")[0], 200)


class EverythingElseTests(GatewayTestCase):
    paths = (
        ("POST", "/health"),
        ("DELETE", "/health"),
        ("GET", "/probe"),
        ("HEAD", "/probe"),
        ("GET", "/"),
        ("GET", "/health/"),
        ("POST", "//probe"),
        ("POST", "/on-trigger"),
    )

    def test_a_native_plugin_that_serves_nothing(self) -> None:
        for method, target in self.paths:
            with self.subTest(method=method, target=target):
                self.assertEqual(Caller(self.native).request(method, target).status, 404)

    def test_a_native_plugin_that_serves_a_leaf(self) -> None:
        self.adapter.resource = Echo()
        answer = Caller(self.native).request("POST", "/health?x=1")
        self.assertEqual((answer.status, answer.body), (200, b"POST /health?x=1, left health"))

    def test_a_native_plugin_that_serves_a_tree(self) -> None:
        tree, branch = Resource(), Resource()
        tree.putChild(b"a", branch)
        branch.putChild(b"b", Echo())
        self.adapter.resource = tree
        caller = Caller(self.native)
        self.assertEqual(caller.request("GET", "/a/b/c/d").body, b"GET /a/b/c/d, left c/d")
        self.assertEqual(caller.request("GET", "/a/x").status, 404)
        self.assertEqual(caller.request("GET", "/health").json(), {"status": "healthy"})

    def test_a_plugin_that_serves_something_later(self) -> None:
        caller = Caller(self.native)
        self.assertEqual(caller.request("GET", "/x").status, 404)
        self.adapter.resource = Echo()
        self.assertEqual(caller.request("GET", "/x").status, 200)

    def test_an_http_plugin_gets_it(self) -> None:
        for method, target in self.paths:
            with self.subTest(method=method, target=target):
                caller = Caller(self.forwarding)
                caller.ask(method, target)
                line = self.plugin.accept().value().partition(b"\r\n")[0]
                self.assertEqual(line, f"{method} {target} HTTP/1.1".encode())
                self.plugin.send(b"HTTP/1.1 204 X\r\n\r\n")
                self.assertEqual(caller.answer(method).status, 204)


class ServiceTests(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor: Any = MemoryReactor()
        self.gateway = self.make_gateway(NoSuchPath())

    def make_gateway(self, resource: IResource) -> Gateway:
        settings = Settings(listen=Address("0.0.0.0", 9000), max_body=10)
        return Gateway(settings, resource, self.in_flight, self.metrics, self.reactor)

    def test_listens_where_it_is_told(self) -> None:
        self.gateway.startService()
        ((port, _, _, host),) = self.reactor.tcpServers
        self.assertEqual((host, port), ("0.0.0.0", 9000))

    def test_an_address_in_use(self) -> None:
        def refuse(port: int, factory: object, backlog: int, interface: str) -> None:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))

        self.reactor.listenTCP = refuse
        error = self.assertRaises(StartupError, self.gateway.startService)
        self.assertEqual(
            str(error),
            "gateway.listen: can't listen on 0.0.0.0:9000: Address already in use; choose another address",
        )

    def test_its_settings_limit_bodies(self) -> None:
        self.gateway.startService()
        self.assertEqual(self.reactor.tcpServers[0][1].max_body, 10)

    def test_counts_requests_by_status(self) -> None:
        gateway = self.make_gateway(self.native)
        gateway.startService()
        site = self.reactor.tcpServers[0][1]
        site.reactor = Clock()
        for target in (b"/health", b"/x", b"/health"):
            channel = site.buildProtocol(None)
            channel.makeConnection(StringTransport())
            channel.dataReceived(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
        for status, times in (("200", 2), ("404", 1)):
            value = self.metrics.registry.get_sample_value("scfd_gateway_requests_total", {"code": status})
            self.assertEqual(value, times)

    def test_draining_waits_for_what_is_being_forwarded(self) -> None:
        exchange: Deferred[None] = Deferred()
        self.in_flight.add(exchange)
        drained = self.gateway.drain()
        self.assertNoResult(drained)
        exchange.callback(None)
        self.successResultOf(drained)

    def test_draining_with_nothing_to_do(self) -> None:
        self.successResultOf(self.gateway.drain())

    def test_the_port_stays_open_while_it_drains(self) -> None:
        self.gateway.startService()
        self.gateway.drain()
        self.assertTrue(self.gateway.running)
        self.gateway.stopService()

    def test_stopping_what_did_not_start(self) -> None:
        self.assertIsNone(self.gateway.stopService())
