"""Tests for scfd.triggers.nats.given_up: what becomes of messages that the server has given up."""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.errors import PluginError
from scfd.status.context import Context
from scfd.triggers.nats.acks import Acks
from scfd.triggers.nats.consumer_config import Terms
from scfd.triggers.nats.dead_letter import DeadLetters
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.given_up import FETCH_PAUSE, GivenUp
from tests.nats_fakes import FakeConnection, Message


class GivenUpTests(SynchronousTestCase):
    def make(self, dead_letter: str = "dead") -> None:
        settings = NatsSettings("q", "nats://h", "S", "c", "s.>", max_deliver=2, dead_letter=dead_letter)
        self.clock = Clock()
        self.context = Context(self.clock, lambda: 0.0)
        self.connection = FakeConnection()
        connection: Any = self.connection
        letters = (
            DeadLetters(settings, connection, self.context.readiness, self.clock) if dead_letter else None
        )
        metrics = self.context.metrics
        acks = Acks(settings, Terms.of(settings), connection, letters, metrics, self.clock)
        self.plugin: Deferred[None] = Deferred()
        self.deliveries = Deliveries(settings, lambda event: self.plugin, acks, metrics, self.clock)
        self.deliveries.set_ready(True)
        self.given_up = GivenUp(settings, connection, self.deliveries, letters, self.context)

    def advise(self, sequence: int = 7, deliveries: int = 2) -> Deferred[None]:
        advisory = {"stream": "S", "consumer": "c", "stream_seq": sequence, "deliveries": deliveries}
        return Deferred.fromCoroutine(self.given_up.handle(json.dumps(advisory).encode()))

    def responds(self, response: Any) -> str:
        """The server responds to the last request. :returns: the subject of that."""
        subject, _, deferred = self.connection.requests[-1]
        deferred.callback(Message("", "", json.dumps(response).encode()))
        return str(subject)

    def has_the_message(self) -> str:
        return self.responds(
            {
                "message": {
                    "subject": "s.a",
                    "seq": 7,
                    "hdrs": base64.b64encode(b"NATS/1.0\r\nA: b\r\n\r\n").decode(),
                    "data": base64.b64encode(b"body").decode(),
                    "time": "2026-11-26T03:47:29.77410365Z",
                }
            }
        )

    def count(self, outcome: str) -> float:
        return float(self.context.metrics.messages.labels("q", outcome).value)

    def receive(self) -> None:
        self.deliveries.received(Message("s.a", "$JS.ACK.S.c.1.7.1.1795664849774103650.0", b"body"))

    def test_the_letter_is_that_of_the_ordinary_way(self) -> None:
        self.make()
        handled = self.advise()
        self.assertEqual(self.has_the_message(), "$JS.API.STREAM.MSG.GET.S")
        self.assertEqual(self.responds({"stream": "D", "seq": 1}), "dead")
        self.successResultOf(handled)
        self.assertEqual(self.count("dead letter"), 1)
        found = self.connection.headers
        self.make()
        self.receive()
        self.deliveries.sees_to(7, 2)
        self.plugin.errback(PluginError("no"))
        expected = self.connection.headers
        self.assertEqual(found["Nats-Msg-Id"], expected["Nats-Msg-Id"])
        self.assertEqual(found.pop("A"), "b")
        self.assertEqual(found.keys(), expected.keys())
        self.assertEqual(found["Scfd-Deliveries"], expected["Scfd-Deliveries"])

    def test_one_that_is_not_in_the_stream_any_more(self) -> None:
        self.make()
        handled = self.advise()
        self.responds({"error": {"err_code": 10037, "description": "no message found"}})
        self.successResultOf(handled)
        self.assertEqual((self.count("given up"), len(self.connection.requests)), (1, 1))

    def test_a_server_that_does_not_respond_is_asked_again(self) -> None:
        self.make()
        handled = self.advise()
        self.responds({"error": {"err_code": 10008, "description": "no leader"}})
        self.assertEqual(
            [problem.reason for problem in self.context.readiness.problems()],
            ["message 7 can't be read for its dead letter: the server refuses: no leader (error 10008)"],
        )
        self.clock.advance(FETCH_PAUSE)
        self.has_the_message()
        self.responds({"stream": "D", "seq": 1})
        self.successResultOf(handled)
        self.assertEqual(list(self.context.readiness.problems()), [])

    def test_one_that_is_here_still(self) -> None:
        """What becomes of it here decides, and it is its last delivery now."""
        self.make()
        self.receive()
        self.successResultOf(self.advise())
        self.assertEqual(self.connection.requests, [])
        self.plugin.errback(PluginError("no"))
        self.assertEqual([subject for subject, _, _ in self.connection.requests], ["dead"])

    def test_one_that_was_handled_here(self) -> None:
        self.make()
        self.plugin = succeed(None)
        self.receive()
        self.successResultOf(self.advise())
        self.assertEqual(self.connection.requests, [])

    def test_without_a_dead_letter(self) -> None:
        self.make(dead_letter="")
        self.successResultOf(self.advise())
        self.assertEqual((self.count("given up"), self.connection.requests), (1, []))
        self.receive()
        self.deliveries.sees_to(7, 2)
        self.plugin.errback(PluginError("no"))
        self.successResultOf(self.advise())
        self.assertEqual((self.count("given up"), self.count("exhausted")), (1, 1))

    def test_what_is_no_advisory(self) -> None:
        self.make()
        for data in (b"", b"{}", b"[]", b'{"stream_seq": null, "deliveries": 1}'):
            self.failureResultOf(Deferred.fromCoroutine(self.given_up.handle(data)))
