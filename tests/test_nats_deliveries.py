"""Tests for scfd.triggers.nats.deliveries and acks: turns, deadlines, failures, the end of a node."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.errors import PluginError, PluginUnavailableError, StorageError
from scfd.events.event import TriggerEvent
from scfd.events.tasks import EMPTY_SNAPSHOT
from scfd.status.metrics import Metrics
from scfd.triggers.nats.acks import Acks
from scfd.triggers.nats.consumer_config import Terms, most_ahead
from scfd.triggers.nats.deliveries import LONGEST_WAIT, POSTPONED, Deliveries
from tests.nats_fakes import FakeConnection, Message


def a_message(sequence: int, delivered: int = 1, number: int = 1) -> Message:
    reply = f"$JS.ACK.S.c.{delivered}.{sequence}.{number}.17356896602500{sequence:05}.0"
    return Message(subject="s.a", reply=reply, data=b"%d" % sequence)


class DeliveriesCase(SynchronousTestCase):
    def make(self, **settings: Any) -> Deliveries:
        given: dict[str, Any] = {
            "name": "q",
            "url": "nats://h",
            "stream": "S",
            "subject": "s.>",
            "consumer_name": "c",
            **settings,
        }
        trigger = NatsSettings(**given)
        self.clock = Clock()
        self.connection = FakeConnection()
        self.metrics = Metrics()
        self.begun: list[int] = []
        self.plugin: dict[int, Deferred[None]] = {}
        self.room = self.number = 0
        connection: Any = self.connection
        acks = Acks(trigger, Terms.of(trigger), connection, None, self.metrics, self.clock)
        self.settings = trigger
        self.deliveries = Deliveries(trigger, self.dispatch, acks, self.metrics, self.clock, self.made_room)
        self.deliveries.set_ready(True)
        return self.deliveries

    def made_room(self) -> None:
        self.room += 1

    def dispatch(self, event: TriggerEvent) -> Deferred[None]:
        self.begun.append(event.payload)
        return self.plugin.setdefault(event.payload, Deferred())

    def receive(self, *sequences: int, delivered: int = 1) -> None:
        for sequence in sequences:
            self.number += 1
            self.deliveries.received(a_message(sequence, delivered, self.number))

    @property
    def responses(self) -> list[tuple[int, str]]:
        """(sequence, what was said) of each response."""
        return [(int(reply.split(".")[5]), payload.decode()) for reply, payload in self.connection.responses]

    @property
    def extended(self) -> list[int]:
        return [
            int(subject.split(".")[5]) for subject, payload, _ in self.connection.sent if payload == b"+WPI"
        ]


class UnavailableTests(DeliveriesCase):
    """An event that never reached the plugin costs no delivery."""

    def setUp(self) -> None:
        self.make(concurrency=2, max_deliver=1)

    def refuse(self, *sequences: int) -> None:
        self.deliveries.set_ready(False)  # the adapter says so first
        for sequence in sequences:
            self.plugin.pop(sequence).errback(PluginUnavailableError("can't connect"))

    def test_the_message_waits_here_for_the_plugin(self) -> None:
        self.receive(1, 2, 3)
        self.refuse(2, 1)
        self.assertEqual((self.responses, self.begun, self.deliveries.held), ([], [1, 2], 3))
        self.deliveries.extend()
        self.deliveries.extend()
        self.assertEqual(sorted(self.extended), [1, 2, 3])
        self.deliveries.set_ready(True)
        self.assertEqual(self.begun, [1, 2, 1, 2])
        for sequence in (1, 2):
            self.plugin[sequence].callback(None)
        self.assertEqual(self.responses, [(1, "+ACK"), (2, "+ACK")])

    def test_other_failures_count(self) -> None:
        self.receive(1)
        self.plugin[1].errback(PluginError("HTTP status 500"))
        self.assertEqual(self.responses, [(1, "-NAK")])


class LogTests(DeliveriesCase):
    """Lines about a message name its event, by which the plugin's own lines are found."""

    def test_naks_last_deliveries_and_acks_that_are_not_confirmed(self) -> None:
        ids: list[str] = []

        def dispatch(event: TriggerEvent) -> Deferred[None]:
            parent = event.at_node({"nodeID": "n"}, EMPTY_SNAPSHOT).traceparent
            ids.append(f"{parent[36:52]} {parent[3:35]}")
            return succeed(None) if event.metadata["num_delivered"] == "3" else fail(PluginError("no"))

        self.patch(self, "dispatch", dispatch)
        deliveries = self.make(max_deliver=2, ack="double")
        with capturedLogs() as events:
            for delivered in (1, 2, 3):
                self.receive(1, delivered=delivered)
            deliveries.begin_no_more()
            self.connection.requests[0][2].errback(TimeoutError())
        self.assertEqual([f"{event['event']} {event['trace']}" for event in events], [*ids, ids[-1]])
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "q: message 1 of stream S is to come again in 1 s",
                "q: message 1 of stream S failed at its last delivery, number 2: no",
                "q: acknowledging: JetStream does not respond within 2 s",
                "q: the acknowledgement of message 1 of stream S is not confirmed; "
                "the message may come again",
            ],
        )


class TurnTests(DeliveriesCase):
    def test_one_after_the_other(self) -> None:
        self.make()
        self.receive(1, 2, 3)
        self.assertEqual((self.begun, self.deliveries.held), ([1], 3))
        self.plugin[1].callback(None)
        self.assertEqual((self.begun, self.responses, self.room), ([1, 2], [(1, "+ACK")], 1))

    def test_several_at_a_time(self) -> None:
        self.make(concurrency=2)
        self.receive(1, 2, 3)
        self.assertEqual(self.begun, [1, 2])
        self.plugin[2].callback(None)
        self.assertEqual((self.begun, self.responses), ([1, 2, 3], [(2, "+ACK")]))

    def test_a_plugin_that_responds_at_once(self) -> None:
        self.make()
        self.plugin = {sequence: succeed(None) for sequence in range(10)}
        self.receive(*range(10))
        self.assertEqual((self.begun, self.deliveries.held), (list(range(10)), 0))
        self.assertEqual(self.responses, [(sequence, "+ACK") for sequence in range(10)])

    def test_nothing_is_begun_while_the_plugin_is_away(self) -> None:
        self.make()
        self.deliveries.set_ready(False)
        self.receive(1, 2)
        self.assertEqual((self.begun, self.responses), ([], []))
        self.deliveries.set_ready(True)
        self.assertEqual(self.begun, [1])

    def test_what_waits_for_the_plugin_too_long_is_given_back(self) -> None:
        """Where that costs nothing: else a message would use up its deliveries while the plugin is away."""
        for max_deliver, responses in ((-1, [(1, "-NAK"), (2, "-NAK")]), (3, [])):
            self.make(max_deliver=max_deliver)
            self.deliveries.set_ready(False)
            self.receive(1)
            self.receive(2, delivered=3)
            self.clock.advance(LONGEST_WAIT + 1)
            self.deliveries.extend()
            self.assertEqual((self.responses, self.deliveries.held), (responses, 2 - len(responses)))
        self.deliveries.set_ready(True)
        self.assertEqual(self.begun, [1])

    def test_what_can_not_be_handled_now_is_kept(self) -> None:
        """Unspent, in its turn, and neither tried again at once nor given back."""
        for error in (PluginUnavailableError("refused"), StorageError("full")):
            self.make(max_deliver=1)
            self.receive(1, 2)
            self.plugin.pop(1).errback(error)
            self.assertEqual((self.begun, self.responses, self.deliveries.held), ([1], [], 2))
            self.clock.advance(POSTPONED)
            self.assertEqual(self.begun, [1, 1])
            self.plugin[1].callback(None)
            self.assertEqual((self.begun, self.responses), ([1, 1, 2], [(1, "+ACK")]))

    def test_goes_on_as_soon_as_the_plugin_is_there(self) -> None:
        self.make()
        self.receive(1)
        self.deliveries.set_ready(False)
        self.plugin.pop(1).errback(PluginUnavailableError("refused"))
        self.deliveries.set_ready(True)
        self.assertEqual(self.begun, [1, 1])

    def test_what_is_postponed_at_the_end_is_given_back(self) -> None:
        self.make()
        self.receive(1)
        self.deliveries.begin_no_more()
        self.plugin.pop(1).errback(PluginUnavailableError("refused"))
        self.assertEqual(self.deliveries.held, 0)
        self.assertEqual([sequence for sequence, _ in self.responses], [1])

    def test_a_message_that_is_no_delivery(self) -> None:
        self.make()
        for reply in ("", "$JS.ACK.S.c", "$JS.ACK.S.c.x.1.1.1.0"):
            self.deliveries.received(Message("s.x", reply, b"1"))
        self.receive(1)
        self.assertEqual(self.begun, [1])


class AheadTests(DeliveriesCase):
    def take(self, seconds: float, count: int = 200) -> None:
        """Handle messages that take so long each."""
        for sequence in range(count):
            self.receive(sequence)
            self.clock.advance(seconds)
            self.plugin[sequence].callback(None)

    def test_none_as_long_as_nothing_is_known(self) -> None:
        self.assertEqual(self.make().ahead(), 0)

    def test_as_many_as_are_begun_within_a_tenth_of_a_second(self) -> None:
        for seconds, concurrency, ahead in ((0.005, 1, 20), (0.02, 4, 20), (0.09, 1, 1), (1.0, 4, 0)):
            with self.subTest(seconds=seconds, concurrency=concurrency):
                self.make(concurrency=concurrency)
                self.take(seconds)
                self.assertIn(self.deliveries.ahead(), (ahead - 1, ahead))

    def test_not_without_bounds(self) -> None:
        self.make(batch_size=10)
        self.plugin = {sequence: succeed(None) for sequence in range(10_000)}
        self.receive(*range(10_000))
        self.assertEqual(self.deliveries.ahead(), most_ahead(self.settings))
        self.assertEqual(most_ahead(self.settings), 320)


class BytesTests(DeliveriesCase):
    def test_what_is_here_is_counted_in_bytes(self) -> None:
        self.make(concurrency=2, max_deliver=-1)
        one = len("s.a") + len("1")
        self.receive(1, 2, 3, 4)
        self.receive(1, delivered=2)  # the same once more
        self.assertEqual(self.deliveries.held_bytes, 4 * one)
        self.plugin[1].callback(None)
        self.plugin[2].errback(PluginError("no"))
        self.assertEqual(self.deliveries.held_bytes, 2 * one)
        self.receive(5)
        self.deliveries.begin_no_more()
        self.assertEqual(self.deliveries.held_bytes, 2 * one)
        self.plugin[3].callback(None)
        self.plugin[4].errback(PluginUnavailableError("refused"))
        self.assertEqual(self.deliveries.held_bytes, 0)

    def test_quick_ones(self) -> None:
        self.make()
        self.plugin = {2: succeed(None)}
        self.receive(1, 2)
        self.plugin[1].callback(None)
        self.assertEqual(self.deliveries.held_bytes, 0)


class DeadlineTests(DeliveriesCase):
    def test_extended_while_it_is_here(self) -> None:
        self.make()
        self.receive(1, 2)
        self.deliveries.extend()
        self.assertEqual(self.extended, [])  # they have just come
        self.deliveries.extend()
        self.assertEqual(self.extended, [1, 2])
        self.plugin[1].callback(None)
        self.deliveries.extend()
        self.assertEqual(self.extended, [1, 2, 2])

    def test_one_that_comes_again_while_it_is_here(self) -> None:
        self.make(max_deliver=2, backoff=(5,))
        self.receive(1)
        self.receive(1, delivered=2)
        self.assertEqual(self.begun, [1])
        self.plugin[1].errback(PluginError("no"))
        self.flushLoggedErrors()
        self.assertEqual(self.connection.responses, [("$JS.ACK.S.c.2.1.2.1735689660250000001.0", b"-NAK")])

    def test_one_whose_acknowledgement_was_lost(self) -> None:
        """See also tests.test_nats_acknowledged."""
        self.make()
        self.plugin[1] = succeed(None)
        self.receive(1)
        self.receive(1, delivered=2)
        self.assertEqual((self.begun, self.responses), ([1], [(1, "+ACK"), (1, "+ACK")]))
        self.receive(1)
        self.assertEqual(self.begun, [1, 1])


class FailureTests(DeliveriesCase):
    def test_delays(self) -> None:
        for delivered, delay in ((1, 1), (2, 5), (3, 30), (9, 30)):
            with self.subTest(delivered=delivered):
                self.make(backoff=(1, 5, 30), max_deliver=-1)
                self.plugin[1] = fail(PluginError("no"))
                self.receive(1, delivered=delivered)
                [(_, said)] = self.responses
                verb, _, body = said.partition(" ")
                self.assertEqual((verb, json.loads(body)), ("-NAK", {"delay": delay * 1_000_000_000}))

    def test_the_slot_is_free_again(self) -> None:
        self.make()
        self.plugin[1] = fail(PluginError("no"))
        self.receive(1, 2)
        self.assertEqual((self.begun, self.deliveries.held), ([1, 2], 1))

    def test_confirmed_acknowledgements(self) -> None:
        self.make(ack="double")
        self.plugin[1] = succeed(None)
        self.receive(1, 2)
        [(_, payload, confirmed)] = self.connection.requests
        self.assertEqual((payload, self.begun), (b"+ACK", [1]))
        confirmed.errback(Exception("lost"))
        self.clock.advance(2)
        self.connection.requests[1][2].callback(None)
        self.assertEqual(self.begun, [1, 2])

    def test_an_ack_that_is_not_confirmed_does_not_hold_up_the_end(self) -> None:
        self.make(ack="double")
        self.plugin[1] = succeed(None)
        self.receive(1)
        self.deliveries.begin_no_more()
        emptied = self.deliveries.empty()
        self.assertNoResult(emptied)
        self.connection.requests[0][2].errback(Exception("no response"))
        self.successResultOf(emptied)
        self.assertEqual(self.metrics.messages.labels("q", "unconfirmed").value, 1)


class EndTests(DeliveriesCase):
    def test_what_is_not_begun_is_given_back(self) -> None:
        self.make()
        self.receive(1, 2, 3)
        self.deliveries.begin_no_more()
        self.assertEqual(self.responses, [(2, "-NAK"), (3, "-NAK")])
        self.receive(4)  # it was on its way
        self.assertEqual(self.responses[2:], [(4, "-NAK")])
        emptied = self.deliveries.empty()
        self.assertNoResult(emptied)
        self.plugin[1].callback(None)
        self.successResultOf(emptied)
        self.assertEqual((self.begun, self.responses[3:]), ([1], [(1, "+ACK")]))

    def test_what_would_not_come_again_is_handled(self) -> None:
        self.make(max_deliver=3)
        self.receive(1)
        self.receive(2, delivered=3)
        self.deliveries.begin_no_more()
        self.plugin[1].callback(None)
        self.assertEqual((self.begun, self.responses), ([1, 2], [(1, "+ACK")]))

    def test_what_is_interrupted_is_given_back_without_a_delay(self) -> None:
        self.make(concurrency=2)
        self.receive(1, 2)
        self.deliveries.begin_no_more()
        self.deliveries.interrupt()
        self.assertEqual(self.responses, [(1, "-NAK"), (2, "-NAK")])
        self.successResultOf(self.deliveries.empty())
