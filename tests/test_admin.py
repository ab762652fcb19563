"""Tests for scfd.admin.routes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http_fakes import Received
from tests.operated import Operated


class AdminRoutesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Operated()
        self.readiness, self.metrics = self.node.parts.context.readiness, self.node.parts.context.metrics
        self.readiness.well("node")

    def request(self, method: str, target: str, *headers: str, token: str = "") -> Received:
        return (Operated(token=token) if token else self.node).request(method, target, *headers)

    def test_live(self) -> None:
        answer = self.request("GET", "/live")
        self.assertEqual((answer.status, answer.json()), (200, {"status": "live"}))
        self.assertEqual(self.request("HEAD", "/live").status, 200)

    def test_ready(self) -> None:
        answer = self.request("GET", "/ready")
        self.assertEqual((answer.status, answer.json()), (200, []))

    def test_not_ready(self) -> None:
        self.readiness.problem("plugin", "exit status 1", "look")
        self.node.advance(seconds=2)
        self.readiness.problem("nats trigger q", "not connected", "look")
        answer = self.request("GET", "/ready")
        self.assertEqual(
            (answer.status, answer.json()),
            (
                503,
                [
                    {
                        "component": "plugin",
                        "severity": "problem",
                        "reason": "exit status 1",
                        "since": "2027-01-15T08:00:00Z",
                        "advice": "look",
                    },
                    {
                        "component": "nats trigger q",
                        "severity": "problem",
                        "reason": "not connected",
                        "since": "2027-01-15T08:00:02Z",
                        "advice": "look",
                    },
                ],
            ),
        )
        self.assertEqual(self.request("HEAD", "/ready").status, 503)

    def test_warnings_leave_it_ready(self) -> None:
        self.readiness.warning("trigger t", "its last 5 events have all failed", "scfd events --failed")
        answer = self.request("GET", "/ready")
        self.assertEqual(answer.status, 200)
        (warning,) = answer.json()
        self.assertEqual((warning["severity"], warning["advice"]), ("warning", "scfd events --failed"))

    def test_ready_again(self) -> None:
        self.readiness.problem("plugin", "exit status 1", "look")
        self.readiness.well("plugin")
        self.assertEqual(self.request("GET", "/ready").status, 200)

    def test_metrics(self) -> None:
        self.metrics.heartbeats.labels("accepted").inc(3)
        answer = self.request("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.header("content-type")[0].startswith("text/plain"))
        self.assertIn(b'scfd_heartbeats_total{outcome="accepted"} 4.0\n', answer.body)

    def test_everything_else(self) -> None:
        for method, target in (("GET", "/x"), ("GET", "/ready/"), ("GET", "/rpc")):
            with self.subTest(method=method, target=target):
                self.assertEqual(self.request(method, target).status, 404)

    def test_a_token_guards_the_metrics(self) -> None:
        for headers, status in (
            (["Authorization: Bearer s3cret"], 200),
            (["authorization: bearer s3cret "], 200),
            (["Authorization: Bearer S3cret"], 401),
            (["Authorization: Bearer s3 cret"], 401),
            (["Authorization: Bearer s3cret, Bearer s3cret"], 401),
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
