"""Tests for scfd.triggers.nats.trigger: what is said of a consumer, and how often it is tried."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.status.context import Context
from scfd.status.metrics import Metrics
from scfd.status.readiness import Availability
from scfd.triggers.nats.acknowledged import Life
from scfd.triggers.nats.acks import Acks
from scfd.triggers.nats.consumer_config import Terms
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.jetstream import BindError
from scfd.triggers.nats.trigger import NatsTrigger
from tests.nats_fakes import FakeConnection, Message

SETTINGS = NatsSettings("q", "nats://h", "S", "c", "s.>")


class FakeConsumer:
    """
    Binds at once, or fails with ``error``.

    :ivar binds: how often.
    """

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.terms = Terms.of(SETTINGS)
        self.paused, self.crowded = "", False
        self.error: Exception | None = None
        self.binds = 0
        self.rebinds = Metrics().nats_rebinds.labels("q")

    async def bind(self) -> Life:
        self.binds += 1
        if self.error is not None:
            raise self.error
        return Life("2026-01-01", "", 0, 0, False)

    async def look(self, arrived: int, expecting: bool) -> str | None:
        return None


class NatsTriggerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        observer: Any = self.logged
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.clock = Clock()
        self.context = Context(self.clock, self.clock.seconds, availability=Availability(True))
        self.connection, self.consumer = FakeConnection(), FakeConsumer()
        connection: Any = self.connection
        consumer: Any = self.consumer
        acks = Acks(SETTINGS, consumer.terms, connection, None, self.context.metrics, self.clock)
        deliveries = Deliveries(SETTINGS, lambda event: succeed(None), acks, self.context.metrics, self.clock)
        self.trigger = NatsTrigger(SETTINGS, connection, consumer, deliveries, self.context)

    def start(self) -> None:
        self.trigger.startService()
        self.addCleanup(self.trigger.stopService)

    def logged(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "scfd.nats":
            self.lines.append(formatEvent(event).removeprefix("q: "))

    def says(self, status: str, description: str) -> None:
        headers = {"Status": status, "Description": description}
        self.connection.deliver(Message(subject="s", reply="", data=b"", headers=headers))

    def refuse(self, seconds: int) -> None:
        """Let the server refuse each pull request for some time."""
        for _ in range(seconds * 10):
            self.says("400", "Bad Request")
            self.clock.advance(0.1)

    @property
    def problems(self) -> list[str]:
        return [problem.reason for problem in self.context.readiness.problems() if "q" in problem.component]

    def test_refused_requests_are_said_once(self) -> None:
        self.start()
        self.assertEqual((self.problems, self.lines), ([], ["consuming all of stream S as c"]))
        self.refuse(60)
        self.assertEqual(self.lines[1:], ["the server ended them: Bad Request"])
        self.assertEqual(self.problems, ["the server ended them: Bad Request"])
        self.assertTrue(12 <= self.consumer.binds <= 30, self.consumer.binds)

    def test_a_sign_of_life_ends_it(self) -> None:
        self.start()
        self.refuse(10)
        self.clock.advance(6)
        self.says("100", "Idle Heartbeat")
        self.clock.advance(1)
        self.assertEqual((self.problems, self.lines[-1]), ([], "consuming all of stream S as c"))

    def test_another_reason_is_said(self) -> None:
        self.start()
        self.refuse(10)
        self.consumer.error = BindError("consumer c is a push consumer")
        self.refuse(10)
        self.assertEqual(self.problems, ["consumer c is a push consumer"])
        self.assertEqual(len(self.lines), 3)

    def test_a_consumer_that_can_not_be_bound(self) -> None:
        self.consumer.error = BindError("there is no stream S")
        self.start()
        self.clock.pump([0.1] * 600)
        self.assertEqual((self.problems, self.lines), (["there is no stream S"], ["there is no stream S"]))
        self.assertTrue(12 <= self.consumer.binds <= 30, self.consumer.binds)
        self.consumer.error = None
        self.clock.advance(5)
        self.assertEqual(self.problems, [])

    def test_messages_are_extended_in_the_ack_wait_of_the_consumer(self) -> None:
        self.consumer.terms.ack_wait = 2.0
        gate: Deferred[None] = Deferred()
        self.trigger._deliveries._dispatch = lambda event: gate
        self.start()
        self.connection.deliver(Message(subject="s.a", reply="$JS.ACK.S.c.1.1.1.1.0", data=b""))
        self.clock.pump([0.25] * 16)
        extended = [subject for subject, payload, _ in self.connection.sent if payload == b"+WPI"]
        self.assertGreaterEqual(len(extended), 6)
        gate.callback(None)
