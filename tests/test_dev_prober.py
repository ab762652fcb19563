"""Probing a node, with a clock and a node in memory."""

from __future__ import annotations

import json
from collections.abc import Callable

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from scfd.config import Address
from scfd.dev.prober import Prober


class Node(Resource):
    """
    Responds to probes.

    :ivar bodies: of the requests it got.
    :ivar status: of its responses, with ``body``; without a body it never responds.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.status = 200
        self.body: bytes | None = b'{"success": true, "message": "probe handled successfully"}'

    def render_POST(self, request: Request) -> bytes | int:
        assert request.content is not None and request.path == b"/probe"
        self.bodies.append(request.content.read())
        request.setResponseCode(self.status)
        return NOT_DONE_YET if self.body is None else self.body


@implementer(IAgent)
class Network:
    """
    The way to a node.

    :ivar down: connections are refused.
    """

    def __init__(self, node: Node) -> None:
        self._agent = RequestTraversalAgent(node)
        self.down = False

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803 (the name is Twisted's)
    ) -> Deferred[IResponse]:
        if self.down:
            raise ConnectionRefusedError()
        response: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return response


class ProberTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.node = Node()
        self.network = Network(self.node)
        # 2026-11-23 21:48:00 UTC
        self.prober = Prober(
            "http://127.0.0.1:9000/",
            Address("127.0.0.1", 18202),
            self.network,
            self.clock,
            lambda: 1795470480.0,
        )
        self.addCleanup(self.prober.stopService)

    def events(self, do: Callable[[], object]) -> list[tuple[LogLevel, str]]:
        def shown(event: LogEvent) -> tuple[LogLevel, str]:
            return event["log_level"], event["log_format"].format(**event)

        with capturedLogs() as events:
            do()
        return [shown(event) for event in events if event["log_namespace"] == "scfd.dev.control_plane"]

    def test_generation_3_names_the_deployed_services(self) -> None:
        prober = Prober(
            "http://127.0.0.1:9000", Address("::1", 1), self.network, self.clock, lambda: 0.0, protocol="3"
        )
        self.addCleanup(prober.stopService)
        prober.startService()
        probe = json.loads(self.node.bodies[-1])
        self.assertEqual(probe["service_deployments"]["service_gateway"]["base_url"], "http://[::1]:1")

    def test_says_where_the_control_plane_is(self) -> None:
        self.prober.startService()
        self.assertEqual(
            {
                "action": "keepalive",
                "source": "keepalive_probe",
                "request_id": "keepalive_1",
                "timestamp": "2026-11-23T21:48:00Z",
                "server_ip": "127.0.0.1",
                "server_port": 18202,
                "moox_server_url": "http://127.0.0.1:18202",
                "storage_server_url": "",
                "data": {},
            },
            json.loads(self.node.bodies[0]),
        )

    def test_every_five_seconds(self) -> None:
        self.prober.startService()
        self.assertEqual(1, len(self.node.bodies))
        self.clock.advance(4.9)
        self.assertEqual(1, len(self.node.bodies))
        self.clock.advance(0.1)
        self.clock.advance(5)
        self.assertEqual(
            ["keepalive_1", "keepalive_2", "keepalive_3"],
            [json.loads(body)["request_id"] for body in self.node.bodies],
        )

    def test_every_second_and_quietly_until_the_node_is_there(self) -> None:
        self.network.down = True

        def wait() -> None:
            self.prober.startService()
            self.clock.pump([1] * 3)

        self.assertEqual({LogLevel.debug}, {level for level, _ in self.events(wait)})
        self.network.down = False
        self.assertEqual([], self.events(lambda: self.clock.advance(1)))
        self.assertEqual(1, len(self.node.bodies))

    def test_says_once_that_a_node_is_gone_and_once_that_it_is_back(self) -> None:
        self.prober.startService()
        self.network.down = True
        gone = self.events(lambda: self.clock.pump([5] * 3))
        self.assertEqual(
            [(LogLevel.warn, "the node stopped responding at http://127.0.0.1:9000/probe: ")],
            [(level, text[: text.index(": ") + 2]) for level, text in gone if level > LogLevel.debug],
        )
        self.network.down = False
        self.assertEqual(
            [(LogLevel.info, "the node responds again at http://127.0.0.1:9000/probe")],
            self.events(lambda: self.clock.pump([5] * 2)),
        )

    def test_responses_that_are_failures(self) -> None:
        self.prober.startService()
        cases = [
            (200, b'{"success": false, "message": "node ID is empty"}', "it says: node ID is empty"),
            (200, b"[]", "its response is not that of a probe"),
            (503, b"{}", "HTTP status 503"),
        ]
        for status, body, reason in cases:
            self.node.status, self.node.body = status, body
            self.assertEqual(
                [(LogLevel.warn, f"the node stopped responding at http://127.0.0.1:9000/probe: {reason}")],
                self.events(lambda: self.clock.advance(5)),
            )
            self.node.status, self.node.body = 200, b'{"success": true}'
            self.clock.advance(5)

    def test_goes_on_after_a_node_that_does_not_respond(self) -> None:
        self.prober.startService()
        self.node.body = None
        self.clock.advance(5)
        self.assertEqual(
            [
                (
                    LogLevel.warn,
                    "the node stopped responding at http://127.0.0.1:9000/probe: no response within 5 s",
                )
            ],
            self.events(lambda: self.clock.advance(5)),
        )
        self.clock.advance(5)
        self.assertEqual(3, len(self.node.bodies))

    def test_stops(self) -> None:
        self.prober.startService()
        self.node.body = None
        self.clock.advance(5)
        self.successResultOf(self.prober.stopService())
        self.clock.advance(100)
        self.assertEqual(2, len(self.node.bodies))
        self.assertEqual([], self.clock.getDelayedCalls())
