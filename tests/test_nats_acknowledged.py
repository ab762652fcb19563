"""Tests for scfd.triggers.nats.acknowledged: lost acknowledgements, and replays that are asked for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from scfd.triggers.nats.acknowledged import REMEMBERED, Acknowledged, Life
from scfd.triggers.nats.message import Delivery
from tests.nats_fakes import Message


class AcknowledgedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.number = 0
        self.acknowledged = Acknowledged()
        self.bound()

    def bound(
        self, created: str = "then", process: str = "P", sequence: int = 0, own: bool = False, number: int = 0
    ) -> None:
        """The consumer as it is bound: by default a new one."""
        self.number = number
        self.acknowledged.bound(Life(created, process, number, sequence, own))

    def receive(self, sequence: int, delivered: int = 1) -> Delivery:
        self.number += 1
        reply = f"$JS.ACK.S.c.{delivered}.{sequence}.{self.number}.17356896602500{sequence:05}.0"
        delivery = Delivery(Message("s.a", reply, b""))
        delivery.binding = self.acknowledged.binding
        return delivery

    def handle(self, *sequences: int) -> None:
        for sequence in sequences:
            delivery = self.receive(sequence)
            self.assertFalse(self.acknowledged.has(delivery), sequence)
            self.acknowledged.remember(delivery)

    def comes_again(self, *sequences: int, delivered: int = 1) -> list[bool]:
        """:returns: of each whether only its ack is missing."""
        return [self.acknowledged.has(self.receive(sequence, delivered)) for sequence in sequences]

    def a_moment_passes(self) -> None:
        for _ in range(2):
            self.acknowledged.look()

    def test_a_lost_ack(self) -> None:
        self.handle(1)
        self.assertEqual(self.comes_again(1, 2, delivered=2), [True, False])

    def test_a_reset_while_connected(self) -> None:
        self.handle(1, 2, 3)
        self.number = 0
        self.handle(1, 2, 3)
        self.number = 1
        self.assertEqual(self.comes_again(2, 3, delivered=2), [False, False])

    def test_a_reset_of_which_another_node_had_the_first_messages(self) -> None:
        self.handle(1, 2)
        self.number = 7
        self.handle(1, 2)

    def test_a_lost_connection_changes_nothing(self) -> None:
        self.handle(1, 2)
        self.bound(number=2, sequence=2)
        self.assertEqual(self.comes_again(1, delivered=2), [True])
        self.handle(2)

    def test_a_server_that_was_killed_and_has_forgotten_deliveries(self) -> None:
        self.handle(1, 2)
        self.a_moment_passes()
        self.handle(3, 4)
        running = self.receive(5)
        self.assertFalse(self.acknowledged.has(running))
        self.bound(process="Q", number=2, sequence=2)
        self.acknowledged.remember(running)  # its ack waits for the new connection
        self.assertEqual(self.comes_again(3, 4, 5), [True] * 3)
        self.assertEqual(self.comes_again(3, 4, 5), [False] * 3)  # once
        self.handle(2)  # that one it had not forgotten

    def test_a_server_that_was_killed_twice(self) -> None:
        self.handle(1, 2)
        self.bound(process="Q", number=1, sequence=1)
        self.bound(process="R", number=1, sequence=1)
        self.assertEqual(self.comes_again(2), [True])

    def test_a_reset_while_the_connection_is_lost(self) -> None:
        self.handle(1, 2)
        self.bound()  # the same process is not known to forget anything
        self.handle(1, 2)

    def test_a_reset_after_the_server_was_killed(self) -> None:
        self.handle(1, 2)
        self.a_moment_passes()  # so these are on its disk
        self.bound(process="Q")
        self.handle(1, 2)

    def test_a_cluster(self) -> None:
        """Another server leads the consumer, which is told from no process."""
        self.bound(process="")
        self.handle(1, 2)
        self.bound(process="", number=1, sequence=1)
        self.assertEqual(self.comes_again(2), [True])

    def test_an_operator_has_made_the_consumer_again(self) -> None:
        self.handle(1, 2)
        self.bound(created="now")
        self.handle(1, 2)

    def test_this_node_has_made_the_consumer_again(self) -> None:
        """From where it had been the last time that somebody looked."""
        self.handle(1, 2)
        self.bound(created="now", own=True, sequence=1)
        self.assertEqual(self.comes_again(2), [True])
        self.handle(1)

    def test_not_without_bounds(self) -> None:
        self.handle(*range(1, 5 * REMEMBERED))
        remembered = self.comes_again(*range(1, 5 * REMEMBERED), delivered=2).count(True)
        self.assertTrue(REMEMBERED <= remembered <= 2 * REMEMBERED, remembered)
