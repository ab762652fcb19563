"""Tests for scfd.gateway.routes, scfd.gateway.native and scfd.gateway.service, without sockets."""

from __future__ import annotations

import json
import resource
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource

from scfd.control_plane.heartbeat import Heartbeat
from scfd.control_plane.learning import LearningClient
from scfd.control_plane.probe import ProbeHandler
from scfd.dispatch import Dispatcher
from scfd.events.tasks import TaskStore
from scfd.gateway.native import NativeBackend
from scfd.gateway.routes import FORWARDED, DetailedRoutes, GatewayRoutes
from scfd.gateway.service import Gateway, allow_descriptors
from scfd.http1.contract import Backend
from scfd.http1.forward import Forwarder
from scfd.http1.heads import Route
from scfd.identity import Identity
from scfd.status.readiness import Phase
from tests.fakes import FakeAdapter, MemoryReports
from tests.gateway_fakes import GatewayTestCase as TestCase
from tests.http_fakes import FakeControlPlaneClient, Received

JSON = "Content-Type: application/json"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class GatewayTestCase(TestCase):
    """A gateway in front of a native plugin."""

    probe_token = ""
    kind = GatewayRoutes

    def setUp(self) -> None:
        super().setUp()
        self.identity = Identity("node-abc", "v1")
        self.readiness = self.context.readiness
        self.readiness.enter(Phase.RUNNING)
        store, client = TaskStore(), LearningClient(FakeControlPlaneClient(), None)
        heartbeat = Heartbeat(
            client,
            self.identity,
            store,
            self.adapter,
            9.0,
            self.context,
            lambda version: None,
        )
        dispatcher = Dispatcher(self.adapter, self.identity, store, MemoryReports(), self.context)
        handler = ProbeHandler(self.identity, store, self.adapter, heartbeat, dispatcher, self.context, {})
        self.routes = self.kind(self.readiness, handler, self.probe_token)
        self.front = self.make_front(self.settings, self.made)

    def backend(self) -> Backend:
        self.adapter = FakeAdapter()
        self.resources: list[IResource] = []
        self.made = NativeBackend(self.adapter, self.forwarder)
        return self.made

    def forwarder(self, resource: IResource) -> Forwarder:
        self.resources.append(resource)
        return Forwarder(self.pool, Route(b"", b"h", FORWARDED, preserve_host=True))

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> Received:
        """:returns: the response, which has to be there at once."""
        caller = self.caller()
        caller.ask(method, target, *headers, body=body)
        return caller.response(method)


class HealthTests(GatewayTestCase):
    def test_follows_the_life_of_the_node(self) -> None:
        for phase, status, word in (
            (Phase.STARTING, 503, "starting"),
            (Phase.RUNNING, 200, "healthy"),
            (Phase.STOPPING, 503, "stopping"),
        ):
            with self.subTest(phase=phase):
                self.readiness.enter(phase)
                response = self.ask("GET", "/health")
                self.assertEqual((response.status, response.json()), (status, {"status": word}))
                self.assertEqual(response.header("content-type"), ["application/json"])
                response = self.ask("HEAD", "/health?now")
                self.assertEqual((response.status, response.body), (status, b""))


class HealthDetailsTests(GatewayTestCase):
    kind = DetailedRoutes

    def test_what_the_admin_endpoint_says(self) -> None:
        self.readiness.enter(Phase.STARTING)
        for target, status in (("/-/live", 200), ("/-/startup", 503), ("/-/ready", 503)):
            self.assertEqual(self.ask("GET", target).status, status, target)
            self.assertEqual(self.ask("HEAD", target).status, status, target)
        self.readiness.enter(Phase.RUNNING)
        self.readiness.warning("trigger t", "its last 5 events have all failed", "look")
        self.assertEqual(self.ask("GET", "/-/startup").json(), {"status": "running"})
        ready = self.ask("GET", "/-/ready")
        self.assertEqual((ready.status, ready.json()[0]["component"]), (200, "trigger t"))
        self.readiness.problem("plugin", "exit status 1", "look")
        self.assertEqual(self.ask("GET", "/-/ready").status, 503)


class ProbeTests(GatewayTestCase):
    def probe(self, body: bytes) -> tuple[int, Any]:
        response = self.ask("POST", "/probe", JSON, body=body)
        return response.status, response.json()

    def test_gets_a_response(self) -> None:
        status, response = self.probe(
            json.dumps({"request_id": "7", "server_ip": "h", "server_port": 1}).encode()
        )
        self.assertEqual((status, response["success"], response["request_id"]), (200, True, "7"))
        self.assertEqual(self.identity.server.base_url, "http://h:1")

    def test_a_bad_one(self) -> None:
        for body in (b"", b"[]", b"\xff"):
            status, response = self.probe(body)
            self.assertEqual((status, response["success"]), (400, False))

    def test_gets_a_response_in_every_part_of_the_life(self) -> None:
        for phase in Phase:
            self.readiness.enter(phase)
            self.assertEqual(self.probe(b"{}")[0], 200)

    def test_one_of_a_page_in_a_browser(self) -> None:
        """The plugin may have told the browser that other sites may send JSON."""
        for header in ("Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
            response = self.ask("POST", "/probe", JSON, header, body=b'{"server_ip": "h", "server_port": 1}')
            self.assertEqual((response.status, response.json()["success"]), (403, False))
        self.assertEqual(self.identity.server.base_url, "")

    def test_has_to_say_that_it_is_json(self) -> None:
        """A page in a browser can send other kinds across sites, without asking the node."""
        probe = b'{"server_ip": "h", "server_port": 1}'
        for kind, status in (
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("application/json-patch+json", 415),
            ("text/plain; application/json", 415),
            ("", 415),
        ):
            with self.subTest(kind=kind):
                self.setUp()
                response = self.ask("POST", "/probe", f"Content-Type: {kind}", body=probe)
                self.assertEqual((response.status, response.json()["success"]), (status, status == 200))
                self.assertEqual(self.identity.server.base_url, "http://h:1" if status == 200 else "")
        self.assertEqual(self.ask("POST", "/probe", body=probe).status, 415)
        self.assertEqual(self.ask("POST", "/probe", JSON, "Content-Type: text/plain", body=probe).status, 415)


class EventsTests(TestCase):
    """No caller can make events: `/on-trigger` is for the node alone, by POST and whatever has a body."""

    def sent_on(self, method: str, target: str, events_at: str | None = "", body: bytes = b"{}") -> bool:
        """:returns: whether a request reaches the plugin."""
        self.events_at = events_at
        self.setUp()
        caller = self.caller()
        caller.ask(method, target, body=body)
        if self.connector.attempts:
            return True
        self.assertEqual(caller.response().status, 404)
        return False

    def test_however_they_are_spelled(self) -> None:
        for target in (
            "/on-trigger",
            "/on-trigger?x=1",
            "http://h/on-trigger",
            "/on-trigger/",
            "//on-trigger",
            "/./on-trigger",
            "/x/../on-trigger",
            "/x/%2e%2e/on-trigger",
            "/%6fn-trigger",
            "/on%2Dtrigger",
            "/on%252dtrigger",
            "/ON-Trigger",
            "/on-trigger;x=1",
            "/on-trigger%3Bx",
            "/..\\on-trigger",
            "/on-trigger%2f",
            "/on-trigger%20",
            "/on-trigger%00",
            "/on-trigger%00.txt",
            "/on-trigger%2500/x",
        ):
            self.assertFalse(self.sent_on("POST", target), target)
        for method in ("post", "PUT", "PATCH", "DELETE", "GET", "ANY"):
            self.assertFalse(self.sent_on(method, "/on-trigger"), method)
        self.assertFalse(self.sent_on("POST", "/on-trigger", body=b""))
        for target in ("/base/on-trigger", "/on-trigger/x", "/on-triggers", "/x/on-trigger", "/"):
            self.assertTrue(self.sent_on("POST", target), target)
        for method in ("GET", "HEAD", "OPTIONS"):
            self.assertTrue(self.sent_on(method, "/on-trigger", body=b""), method)

    def test_behind_a_path_of_the_plugin(self) -> None:
        self.assertFalse(self.sent_on("POST", "/on-trigger", "/base"))
        self.assertFalse(self.sent_on("POST", "/../base/on-trigger", "/base"))
        self.assertTrue(self.sent_on("POST", "/../on-trigger", "/base"))

    def test_unless_that_is_wanted(self) -> None:
        self.assertTrue(self.sent_on("POST", "/on-trigger", None))


class TokenTests(GatewayTestCase):
    probe_token = "s3cret"

    def test_has_to_be_shown(self) -> None:
        for header, status in (("Bearer s3cret", 200), ("Bearer x", 401), ("s3cret", 401), ("", 401)):
            with self.subTest(header=header):
                response = self.ask("POST", "/probe", JSON, f"Authorization: {header}", body=b"{}")
                self.assertEqual((response.status, response.json()["success"]), (status, status == 200))
                self.assertNotIn(b"s3cret", response.body)
        probe = b'{"server_ip": "h", "server_port": 1}'
        self.assertEqual(self.ask("POST", "/probe", JSON, body=probe).status, 401)
        self.assertEqual(self.identity.server.base_url, "")


class NativePluginTests(GatewayTestCase):
    def test_one_that_serves_nothing(self) -> None:
        for method, target in (
            ("POST", "/health"),
            ("GET", "/probe"),
            ("HEAD", "/probe"),
            ("GET", "/"),
            ("GET", "/health/"),
            ("POST", "//probe"),
        ):
            with self.subTest(method=method, target=target):
                self.assertEqual(self.ask(method, target).status, 404)
        self.assertEqual(self.ask("POST", "/x", body=b"x" * 100_000).status, 404)

    def test_one_that_serves_something_later(self) -> None:
        self.assertEqual(self.ask("GET", "/x").status, 404)
        self.adapter.resource = Resource()
        caller = self.caller()
        caller.ask("POST", "/health")
        plugin = self.connector.accept()
        self.assertTrue(plugin.sent.startswith(b"POST /health HTTP/1.1\r\nHost: node.example:9000\r\n"))
        plugin.receive(OK)
        self.assertEqual(caller.response().body, b"ok")
        self.caller().ask("GET", "/")
        self.assertEqual(self.resources, [self.adapter.resource])  # asked for once
        self.assertEqual(self.ask("GET", "/health").json(), {"status": "healthy"})

    def test_closing(self) -> None:
        self.made.close()
        self.adapter.resource = Resource()
        self.caller().ask("GET", "/")
        self.connector.accept().receive(OK)
        self.assertEqual(self.pool.idle, 1)
        self.made.close()
        self.assertEqual(self.pool.idle, 0)


class DrainTests(GatewayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.adapter.resource = Resource()
        self.gateway = Gateway(self.settings, self.front, self.made, self.clock)

    def test_with_nothing_to_do(self) -> None:
        self.successResultOf(self.gateway.drain())

    def test_waits_for_responses_under_way(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/x")
        drained = self.gateway.drain()
        self.clock.advance(1)
        self.gateway.look_after()
        self.assertNoResult(drained)
        self.connector.accept().receive(OK)
        self.gateway.look_after()
        self.successResultOf(drained)
        self.assertEqual(caller.response().status, 200)

    def test_a_request_that_is_on_its_way(self) -> None:
        """It gets a response, with 503, where its connection was used in the last second."""
        used, unused = self.caller(), self.caller()
        self.clock.advance(1)
        used.ask("GET", "/health")
        used.take()
        drained = self.gateway.drain()
        self.assertEqual((used.ended, unused.ended), ("", "closed"))
        self.clock.advance(0.9)
        self.gateway.look_after()
        self.assertNoResult(drained)
        used.ask("GET", "/x")
        self.assertEqual((used.response().status, used.ended), (503, "closed"))
        self.clock.advance(0.1)
        self.gateway.look_after()
        self.successResultOf(drained)

    def test_given_up(self) -> None:
        self.caller().ask("GET", "/x")
        drained = self.gateway.drain()
        drained.addErrback(lambda failure: None)
        drained.cancel()
        self.connector.accept().receive(OK)
        self.gateway.look_after()

    def test_stopping_what_did_not_start(self) -> None:
        caller = self.caller()
        self.successResultOf(self.gateway.stopService())
        self.assertEqual(caller.ended, "aborted")


class DeadlinesTests(GatewayTestCase):
    def test_are_looked_at_while_there_are_callers(self) -> None:
        gateway = Gateway(self.settings, self.front, self.made, self.clock)
        for _ in range(2):
            self.assertEqual(self.clock.getDelayedCalls(), [])
            caller = self.caller()
            self.clock.pump([0.1] * 101)
            self.assertEqual(caller.ended, "closed")  # nothing was sent for header_timeout
            caller.lose()
            self.clock.advance(0.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.caller()
        drained = gateway.drain()
        self.clock.pump([0.1] * 12)
        self.successResultOf(drained)
        self.successResultOf(gateway.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_survive_a_failure(self) -> None:
        Gateway(self.settings, self.front, self.made, self.clock)
        caller = self.caller()
        expire = self.front.expire
        self.patch(self.front, "expire", lambda: 1 / 0)
        self.clock.advance(0.1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(self.front, "expire", expire)
        self.clock.pump([0.1] * 101)
        self.assertEqual(caller.ended, "closed")


class DescriptorsTests(SynchronousTestCase):
    def allow(self, soft: int, hard: int, needed: int) -> tuple[list[int], list[str | None]]:
        """:returns: the limits that were set, and what was logged."""
        limits: list[int] = []
        self.patch(resource, "getrlimit", lambda which: (soft, hard))
        self.patch(resource, "setrlimit", lambda which, pair: limits.append(pair[0]))
        with capturedLogs() as logs:
            allow_descriptors(needed)
        return limits, [formatEvent(event) for event in logs]

    def test_the_limit_is_raised(self) -> None:
        unlimited = resource.RLIM_INFINITY
        for soft, hard, limits in (
            (1024, 4096, [1500]),
            (1024, unlimited, [1500]),
            (1500, 4096, []),
            (unlimited, unlimited, []),
        ):
            self.assertEqual(self.allow(soft, hard, 1500), (limits, []))

    def test_as_far_as_it_goes(self) -> None:
        limits, logs = self.allow(256, 1024, 1500)
        self.assertEqual(limits, [1024])
        self.assertRegex(logs[0] or "", "1024 files may be open, .* may be 1500; raise")
