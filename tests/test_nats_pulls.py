"""Tests for scfd.triggers.nats.pulls: what is asked for, what the server says of it, and silence."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.triggers.nats.pulls import Pulls, PullTerms
from tests.nats_fakes import FakeConnection, Message


class PullsTests(SynchronousTestCase):
    def make(self, config: Any = None, **settings: Any) -> Pulls:
        given: dict[str, Any] = {
            "name": "q",
            "url": "nats://h",
            "stream": "S",
            "subject": "s.>",
            "consumer_name": "c",
            **settings,
        }
        self.clock = Clock()
        self.connection = FakeConnection()
        self.lost: list[str] = []
        self.came: list[Any] = []
        self.expired = 0
        connection: Any = self.connection
        self.pulls = Pulls(
            connection,
            PullTerms.of(NatsSettings(**given), config or {}),
            self.came.append,
            self.has_expired,
            self.lost.append,
            self.clock,
        )
        self.successResultOf(Deferred.fromCoroutine(self.pulls.start()))
        return self.pulls

    def has_expired(self) -> None:
        self.expired += 1

    def arrives(self, reply: str = "$JS.ACK.S.c.1.1.1.1.0", **headers: str) -> None:
        self.connection.deliver(Message(subject="s.a", reply=reply, data=b"", headers=headers or None))

    def says(self, status: str, description: str = "", missing: int = 0) -> None:
        more = {"Nats-Pending-Messages": str(missing)} if missing else {}
        self.arrives("", Status=status, Description=description, **more)

    @property
    def asked(self) -> list[dict[str, int]]:
        return [json.loads(payload) for _, payload, _ in self.connection.sent]

    def test_requests_are_no_larger_than_a_batch(self) -> None:
        self.make(batch_size=10).ask(25)
        self.assertEqual([request["batch"] for request in self.asked], [10, 10, 5])
        subject, _, reply = self.connection.sent[0]
        self.assertEqual((subject, reply), ("$JS.API.CONSUMER.MSG.NEXT.S.c", "_INBOX.test"))
        self.assertEqual((self.asked[0]["expires"], self.asked[0]["idle_heartbeat"]), (5 * 10**9, 10**9))

    def test_short_requests_have_no_heartbeats(self) -> None:
        self.make(fetch_max_wait=0.5).ask(1)
        self.assertEqual(self.asked, [{"batch": 1, "expires": 500_000_000}])

    def test_limits_of_the_consumer(self) -> None:
        limits = {"max_batch": 3, "max_expires": 10**9, "max_waiting": 2, "priority_groups": ["g"]}
        self.make(limits, batch_size=10).ask(25)
        self.assertEqual(self.asked, [{"batch": 3, "expires": 10**9, "group": "g"}] * 2)

    def test_other_nodes_use_up_the_requests(self) -> None:
        self.make().ask(3)
        self.says("409", "Exceeded MaxWaiting")
        self.assertEqual((self.pulls.requested, self.expired, self.lost), (0, 0, []))

    def test_a_pinned_client(self) -> None:
        self.make({"priority_groups": ["g"]}).ask(1)
        self.arrives(**{"Nats-Pin-Id": "p"})
        self.pulls.ask(1)
        self.says("423", "Nats-Pin-Id mismatch", missing=1)
        self.assertEqual((self.pulls.requested, self.expired), (0, 1))
        self.pulls.ask(1)
        self.assertEqual([request.get("id") for request in self.asked], [None, "p", None])

    def test_signs_of_life(self) -> None:
        for status, alive in (("100", True), ("408", True), ("400", False), ("409", False), ("503", False)):
            self.make().ask(1)
            self.says(status, missing=1)
            self.assertEqual(self.pulls.alive, alive, status)

    def test_what_comes_is_not_expected_any_more(self) -> None:
        self.make().ask(3)
        self.arrives()
        self.assertEqual((self.pulls.requested, self.pulls.arrived, len(self.came)), (2, 1, 1))

    def test_a_request_that_expires(self) -> None:
        self.make().ask(3)
        self.arrives()
        self.says("408", "Request Timeout", missing=2)
        self.assertEqual((self.pulls.requested, self.expired, self.lost), (0, 1, []))

    def test_requests_that_are_served_in_turn(self) -> None:
        """The count is right whichever of the requests the server has served."""
        self.make(batch_size=4).ask(8)
        for _ in range(4):
            self.arrives()
        self.says("408", missing=2)
        self.assertEqual(self.pulls.requested, 2)
        self.says("408", missing=2)
        self.assertEqual(self.pulls.requested, 0)

    def test_an_end_that_was_not_told(self) -> None:
        self.make().ask(3)
        self.clock.advance(7)
        self.pulls.look()
        self.assertEqual(self.pulls.requested, 0)

    def test_the_consumer_is_lost(self) -> None:
        for status, description, reason in (
            ("409", "Consumer Deleted", "the server ended them: Consumer Deleted"),
            ("409", "Leadership Change", "the server ended them: Leadership Change"),
            ("503", "", "no server takes pulls"),
        ):
            self.make().ask(1)
            self.says(status, description)
            self.assertEqual(self.lost, [reason])

    def test_silence(self) -> None:
        self.make(fetch_max_wait=60).ask(1)
        for second in range(1, 30):
            self.clock.advance(1)
            if second < 10 and second % 5 == 0:
                self.says("100", "Idle Heartbeat")
            self.pulls.look()
            if self.lost:
                break
        self.assertEqual((second, self.lost), (13, ["no sign of the consumer for 7 s"]))

    def test_silence_is_right_when_nothing_was_asked_for(self) -> None:
        self.make(fetch_max_wait=60)
        for _ in range(100):
            self.clock.advance(1)
            self.pulls.look()
        self.pulls.ask(1)
        self.clock.advance(1)
        self.pulls.look()
        self.assertEqual(self.lost, [])
