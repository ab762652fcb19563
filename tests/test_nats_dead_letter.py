"""Tests for scfd.triggers.nats.dead_letter: letters that the server takes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.status.readiness import Readiness
from scfd.triggers.nats.dead_letter import DeadLetters, _size, fitted
from scfd.triggers.nats.message import Delivery
from tests.nats_fakes import FakeConnection, Message
from tests.properties import given

OWN = {"Scfd-Reason": "HTTP status 500", "Nats-Msg-Id": "S.c.1"}


class FittedTests(SynchronousTestCase):
    def test_one_that_fits_is_whole(self) -> None:
        headers = {"X": "1", **OWN}
        self.assertEqual(fitted(headers, b"b", 1000), (headers, b"b", ""))
        self.assertEqual(fitted(headers, b"b" * 2000, 0), (headers, b"b" * 2000, ""))

    def test_the_messages_headers_go_first(self) -> None:
        self.assertEqual(
            fitted({"X": "1" * 1000, **OWN}, b"b", 500),
            ({**OWN, "Scfd-Left-Out": "headers"}, b"b", "headers"),
        )

    def test_then_the_body(self) -> None:
        self.assertEqual(
            fitted(dict(OWN), b"b" * 500, 500),
            ({**OWN, "Scfd-Left-Out": "headers, body"}, b"", "headers, body"),
        )

    @given(
        strategies.text("ab\u00e9", max_size=300), strategies.integers(0, 1000), strategies.integers(200, 900)
    )
    def test_never_too_large(self, value: str, length: int, limit: int) -> None:
        headers, body, _ = fitted({"X": value, **OWN}, b"b" * length, limit)
        self.assertLessEqual(_size(headers, body), limit)


class BuryTests(SynchronousTestCase):
    def bury(self, body: bytes, max_payload: int) -> tuple[FakeConnection, list[Any]]:
        connection: Any = FakeConnection()
        connection.max_payload = max_payload
        settings = NatsSettings(
            name="q",
            url="nats://h",
            stream="S",
            subject="s.>",
            consumer_name="c",
            dead_letter="dead",
        )
        letters = DeadLetters(settings, connection, Readiness(lambda: 0.0), Clock())
        reply = "$JS.ACK.S.c.3.7.7.1735689660250000000.0"
        results: list[Any] = []
        delivery = Delivery(Message("s.a", reply, body))
        delivery.ids = {"event": "e", "trace": "t"}
        buried = Deferred.fromCoroutine(letters.bury(delivery, "no"))
        buried.addBoth(results.append)
        return connection, results

    def test_a_body_that_does_not_fit_stays_in_its_stream(self) -> None:
        connection, results = self.bury(b"b" * 1000, 1000)
        [(subject, body, confirmed)] = connection.requests
        self.assertEqual((subject, body), ("dead", b""))
        confirmed.callback(Message("", "", b'{"stream": "D", "seq": 1}'))
        self.assertEqual(results, [False])

    def test_a_letter_that_can_not_go_at_all(self) -> None:
        connection, results = self.bury(b"b", 100)
        self.assertEqual((connection.requests, results), ([], [False]))

    def test_lines_name_the_event(self) -> None:
        with capturedLogs() as events:
            self.test_a_body_that_does_not_fit_stays_in_its_stream()
            self.test_a_letter_that_can_not_go_at_all()
        self.assertEqual([(event["event"], event["trace"]) for event in events], [("e", "t")] * 3)
