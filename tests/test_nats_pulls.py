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


class PullsCase(SynchronousTestCase):
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
            PullTerms.of(NatsSettings(**given), config or {}, 10_000),
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

    def says(self, status: str, description: str = "", missing: int = 0, **more: str) -> None:
        if missing:
            more["Nats-Pending-Messages"] = str(missing)
        self.arrives("", Status=status, Description=description, **more)

    @property
    def asked(self) -> list[dict[str, int]]:
        """The requests so far, but for their limit in bytes, which is the subject of `BytesTests`."""
        requests = [json.loads(payload) for _, payload, _ in self.connection.sent]
        self.limits = [request.pop("max_bytes", None) for request in requests]
        return requests


class PullsTests(PullsCase):
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

    def test_a_request_that_is_not_taken_now(self) -> None:
        for status, text in (("409", "Exceeded MaxWaiting"), ("429", "Too Many Requests")):
            self.make().ask(3)
            self.says(status, text)
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
            ("409", "Server Shutdown", "the server ended them: Server Shutdown"),
            ("409", "Exceeded MaxRequestBatch of 5", "the server ended them: Exceeded MaxRequestBatch of 5"),
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


class BytesTests(PullsCase):
    """What is asked for is bounded in bytes; a message of any size comes through."""

    MOST = 10_000 + 8192  # any message of the server fits

    def test_open_requests_and_messages_here_stay_within_the_bound(self) -> None:
        for held, requests in ((0, 4), (self.MOST, 3), (4 * self.MOST, 0)):
            self.make(max_held_bytes=4 * self.MOST).ask(100, held)
            self.assertEqual([request["batch"] for request in self.asked], [10] * requests)
            self.assertEqual(self.limits, [self.MOST] * requests)

    def test_where_not_even_one_fits_one_comes_when_nothing_is_here(self) -> None:
        self.make(max_held_bytes=1).ask(100, 1)
        self.assertEqual(self.asked, [])
        self.pulls.ask(100, 0)
        self.assertEqual(len(self.asked), 1)

    def test_the_consumers_own_limit(self) -> None:
        self.make({"max_bytes": 700}).ask(1)
        self.assertEqual((len(self.asked), self.limits), (1, [700]))

    def test_a_request_that_is_full(self) -> None:
        """The consumer is as well as before, and the rest is asked for anew."""
        self.make().ask(10)
        self.arrives()
        self.says("409", "Message Size Exceeds MaxBytes", missing=9, **{"Nats-Pending-Bytes": "500"})
        self.assertEqual((self.pulls.requested, self.pulls.alive, self.expired, self.lost), (0, True, 1, []))
        self.pulls.ask(10)
        self.assertEqual((len(self.asked), self.limits), (2, [self.MOST] * 2))

    def test_a_message_that_no_request_has_room_for_comes_alone(self) -> None:
        self.make({"max_bytes": 700}).ask(20)
        for _ in range(2):
            self.says("409", "Message Size Exceeds MaxBytes", missing=10, **{"Nats-Pending-Bytes": "700"})
        self.pulls.ask(20)
        self.assertEqual([request["batch"] for request in self.asked[2:]], [1])
        self.assertEqual(self.limits[2:], [None])
        self.connection.deliver(Message("s.a", "$JS.ACK.S.c.1.1.1.1.0", b"x" * 701))
        self.pulls.ask(20)
        self.assertEqual((len(self.asked), self.limits[3]), (4, None))
        self.arrives()
        self.pulls.ask(20)
        self.assertEqual([request["batch"] for request in self.asked[4:]], [10, 10])
        self.assertEqual(self.limits[4:], [700, 700])
