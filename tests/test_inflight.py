"""Tests for scfd.deferreds."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from scfd.deferreds import InFlight


class InFlightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.in_flight = InFlight()

    def test_nothing_is_under_way_at_first(self) -> None:
        self.assertEqual(len(self.in_flight), 0)
        self.successResultOf(self.in_flight.drained())

    def test_counts_what_has_not_fired(self) -> None:
        first: Deferred[int] = Deferred()
        self.in_flight.add(first)
        self.in_flight.add(Deferred())
        self.assertEqual(len(self.in_flight), 2)
        first.callback(1)
        self.assertEqual(len(self.in_flight), 1)

    def test_one_that_has_fired_already_does_not_count(self) -> None:
        self.assertEqual(self.successResultOf(self.in_flight.add(succeed(7))), 7)
        self.assertEqual(len(self.in_flight), 0)

    def test_results_and_failures_pass_through(self) -> None:
        self.assertEqual(self.successResultOf(self.in_flight.add(succeed("result"))), "result")
        self.failureResultOf(self.in_flight.add(fail(KeyError())), KeyError)
        self.assertEqual(len(self.in_flight), 0)

    def test_drained_waits_for_the_last_one(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        self.in_flight.add(first)
        self.in_flight.add(second).addErrback(lambda failure: None)
        waiting = [self.in_flight.drained(), self.in_flight.drained()]
        first.callback(None)
        for deferred in waiting:
            self.assertNoResult(deferred)
        second.errback(KeyError())
        for deferred in waiting:
            self.assertIsNone(self.successResultOf(deferred))

    def test_who_stops_waiting_does_not_disturb_the_work(self) -> None:
        work: Deferred[None] = Deferred()
        self.in_flight.add(work)
        patient, impatient = self.in_flight.drained(), self.in_flight.drained()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        work.callback(None)
        self.successResultOf(patient)

    def test_can_be_used_again_once_drained(self) -> None:
        self.in_flight.add(succeed(None))
        work: Deferred[None] = Deferred()
        self.in_flight.add(work)
        drained = self.in_flight.drained()
        self.assertNoResult(drained)
        work.callback(None)
        self.successResultOf(drained)
