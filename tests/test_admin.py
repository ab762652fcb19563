"""Tests for scfd.admin.routes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.admin.routes import AdminRoutes
from scfd.identity import Identity
from scfd.status.context import Context
from scfd.web import NoSuchPath, RoutesResource
from tests.http_fakes import Caller, Received


class ControlRoutesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.context = Context(self.clock, self.clock.seconds)
        self.readiness, self.metrics = self.context.readiness, self.context.metrics

    def request(self, method: str, target: str, *headers: str, token: str = "") -> Received:
        routes = AdminRoutes(Identity("node-abc", "v1"), self.context, token)
        return Caller(RoutesResource(routes, NoSuchPath())).request(method, target, *headers)

    def test_live(self) -> None:
        answer = self.request("GET", "/live")
        self.assertEqual((answer.status, answer.json()), (200, {"status": "live"}))
        self.assertEqual(self.request("HEAD", "/live").status, 200)

    def test_ready(self) -> None:
        answer = self.request("GET", "/ready")
        self.assertEqual((answer.status, answer.json()), (200, []))

    def test_not_ready(self) -> None:
        self.readiness.problem("plugin", "exit status 1")
        self.clock.advance(2)
        self.readiness.problem("nats trigger q", "not connected")
        answer = self.request("GET", "/ready")
        self.assertEqual(
            (answer.status, answer.json()),
            (
                503,
                [
                    {"component": "plugin", "reason": "exit status 1", "since": "2027-01-15T08:00:00Z"},
                    {
                        "component": "nats trigger q",
                        "reason": "not connected",
                        "since": "2027-01-15T08:00:02Z",
                    },
                ],
            ),
        )
        self.assertEqual(self.request("HEAD", "/ready").status, 503)

    def test_ready_again(self) -> None:
        self.readiness.problem("plugin", "exit status 1")
        self.readiness.well("plugin")
        self.assertEqual(self.request("GET", "/ready").status, 200)

    def test_metrics(self) -> None:
        self.metrics.heartbeats.labels("accepted").inc(3)
        answer = self.request("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.header("content-type")[0].startswith("text/plain"))
        self.assertIn(b'scfd_heartbeats_total{outcome="accepted"} 3.0\n', answer.body)

    def test_everything_else(self) -> None:
        for method, target in (("GET", "/"), ("POST", "/live"), ("GET", "/ready/"), ("DELETE", "/metrics")):
            with self.subTest(method=method, target=target):
                self.assertEqual(self.request(method, target).status, 404)

    def test_a_token_guards_the_metrics(self) -> None:
        for headers, status in (
            (["Authorization: Bearer s3cret"], 200),
            (["Authorization: Bearer s3cre"], 401),
            (["Authorization: Bearer "], 401),
            (["Authorization: Basic s3cret"], 401),
            (["Authorization: s3cret"], 401),
            (["Authorization: Bearer \xfc"], 401),
            ([], 401),
        ):
            with self.subTest(headers=headers):
                answer = self.request("GET", "/metrics", *headers, token="s3cret")
                self.assertEqual(answer.status, status)
                if status == 401:
                    self.assertEqual(answer.header("www-authenticate"), ["Bearer"])
                    self.assertNotIn(b"s3cret", answer.body)

    def test_a_token_does_not_guard_what_orchestrators_ask(self) -> None:
        for target in ("/live", "/ready"):
            self.assertEqual(self.request("GET", target, token="s3cret").status, 200)

    def test_a_token_beyond_ascii(self) -> None:
        answer = self.request("GET", "/metrics", "Authorization: Bearer gehörig", token="gehörig")
        self.assertEqual(answer.status, 200)
