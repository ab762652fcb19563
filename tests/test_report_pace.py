"""Tests for scfd.reports: when results are tried again, given up, and sorted in."""

from __future__ import annotations

import gc
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.learning import LearningClient
from scfd.errors import OutboxFullError, StartupError
from scfd.events.event import TaskResult
from scfd.identity import ServerAddress
from scfd.reports.delivery import ReportLimits, Reports
from scfd.reports.pace import CONCURRENCY, Pace
from scfd.reports.queues import SORTED_AT_ONCE
from scfd.status.context import Context
from tests.test_reports import DELIVERED, FAILED, REFUSED, ReportsTestCase, results

BUSY = ServerResponse(503, b"busy")
HOUR = 3600


def names(count: int) -> list[str]:
    return [f"task-{number}" for number in range(count)]


class HeldTestCase(ReportsTestCase):
    """The server responds when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.held: list[tuple[str, Deferred[ServerResponse]]] = []
        self.client.react = self.hold
        self.start()

    def hold(self, report: Any) -> Deferred[ServerResponse]:
        self.held.append((report["id"], Deferred()))
        return self.held[-1][1]

    def under_way(self) -> list[str]:
        return [name for name, _ in self.held]

    def respond(self, response: ServerResponse, count: int = 1) -> None:
        """Let the oldest tries end."""
        for _ in range(count):
            self.held.pop(0)[1].callback(response)


class OutageTests(HeldTestCase):
    def test_one_try_at_a_time_however_many_wait(self) -> None:
        self.put(*names(1000))
        self.respond(BUSY, CONCURRENCY)
        self.client.react = lambda report: BUSY
        self.clock.pump([0.5] * 26)
        self.assertEqual(self.sent()[CONCURRENCY:], ["task-16", "task-17", "task-18"])
        self.assertEqual((self.counted("unavailable"), self.reports.pending()), (CONCURRENCY + 3, 1000))

    def test_the_pauses_of_all_are_doubled_up_to_30_seconds(self) -> None:
        times: list[float] = []

        def refuse(report: Any) -> Exception:
            times.append(self.clock.seconds())
            return ConnectionRefusedError()

        self.client.react = refuse
        self.put(*names(1000))
        self.clock.pump([1] * 100)
        self.assertEqual(times, [0, 1, 3, 7, 15, 31, 61, 91])

    def test_each_try_is_of_another_task(self) -> None:
        """A task on which the server breaks does not keep the others from being tried."""
        self.client.react = lambda report: BUSY if report["id"] == "task-0" else DELIVERED
        self.put(*names(5))
        self.clock.advance(1)
        self.assertEqual(self.sent()[:2], ["task-0", "task-1"])
        self.assertEqual(self.reports.delivered, 4)

    def test_recovery_ramps_up(self) -> None:
        self.put(*names(100))
        self.respond(BUSY, CONCURRENCY)
        self.assertEqual(self.under_way(), [])
        self.clock.advance(1)
        widths = []
        for _ in range(6):
            widths.append(len(self.held))
            self.respond(DELIVERED)
        self.assertEqual(widths, [1, 2, 4, 8, CONCURRENCY, CONCURRENCY])

    def test_a_refusal_is_a_sign_of_life(self) -> None:
        self.put(*names(100))
        self.respond(BUSY, CONCURRENCY)
        self.clock.advance(1)
        self.respond(REFUSED)
        self.assertEqual(len(self.held), 2)

    def test_one_try_until_it_has_ended(self) -> None:
        self.put(*names(100))
        self.respond(BUSY, CONCURRENCY)
        self.clock.pump([1] * 9)
        self.assertEqual(len(self.held), 1)
        self.put("new")
        self.assertEqual(len(self.held), 1)

    def test_after_a_recovery_the_pauses_are_short_again(self) -> None:
        self.put(*names(100))
        self.respond(BUSY, CONCURRENCY)
        for pause in (1, 2, 4):
            self.clock.advance(pause)
            self.respond(BUSY)
        self.clock.advance(8)
        self.respond(DELIVERED)
        self.respond(BUSY, 2)
        self.clock.advance(0.9)
        self.assertEqual(self.under_way(), [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.held), 1)

    def test_a_delivery_from_before_the_pause_ends_it(self) -> None:
        self.put(*names(100))
        self.respond(BUSY)
        self.assertEqual(len(self.held), CONCURRENCY - 1)
        self.respond(DELIVERED, CONCURRENCY - 1)
        self.assertGreater(len(self.held), 0)

    def test_stopping_in_a_pause(self) -> None:
        self.put(*names(100))
        self.respond(BUSY, CONCURRENCY)
        self.successResultOf(self.reports.stopService())
        self.assertEqual((self.clock.getDelayedCalls(), len(self.kept())), ([], 100))

    def test_a_failure_while_stopping_begins_nothing(self) -> None:
        self.put(*names(100))
        stopped = self.reports.stopService()
        self.respond(BUSY, CONCURRENCY)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.under_way(), self.clock.getDelayedCalls()), ([], []))


class NotTakenTests(HeldTestCase):
    """A response that does not take a result is about that result, until it is about all of them."""

    def test_others_go_on(self) -> None:
        self.client.react = lambda report: FAILED if report["id"] == "task-0" else DELIVERED
        self.put(*names(200))
        self.assertEqual((self.reports.delivered, self.reports.pending()), (199, 1))
        self.put("task-0", "later")
        self.assertEqual((self.reports.delivered, self.reports.pending()), (200, 2))

    def test_as_many_tasks_as_may_be_under_way_are_an_outage(self) -> None:
        self.put(*names(100))
        self.respond(FAILED, CONCURRENCY - 1)
        self.assertGreater(len(self.held), 1)
        self.respond(FAILED, len(self.held))
        self.assertEqual(self.under_way(), [])
        self.clock.advance(0.9)
        self.assertEqual(self.under_way(), [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.held), 1)

    def test_a_server_that_fails_with_500_gets_few_tries(self) -> None:
        self.client.react = lambda report: FAILED
        self.put(*names(1000))
        self.clock.pump([0.5] * 26)
        self.assertEqual(len(self.sent()), CONCURRENCY + 3)

    def test_a_delivery_in_between_says_that_the_server_works(self) -> None:
        self.put(*names(100))
        self.respond(FAILED, CONCURRENCY - 1)
        self.respond(DELIVERED)
        self.respond(FAILED, CONCURRENCY - 1)
        self.assertEqual(len(self.held), CONCURRENCY)

    def test_one_task_many_times_is_no_outage(self) -> None:
        self.client.react = lambda report: FAILED
        self.put("a")
        self.clock.pump([30] * 2 * CONCURRENCY)
        self.client.react = lambda report: FAILED if report["id"] == "a" else DELIVERED
        self.put("b")
        self.assertEqual(self.reports.delivered, 1)

    def test_is_logged_once(self) -> None:
        self.client.react = lambda report: FAILED if report["id"] == "a" else DELIVERED
        with capturedLogs() as events:
            self.put("a")
            for _ in range(50):
                self.put("b")
                self.clock.advance(30)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "task results are kept for later: HTTP status 500: ",
                "task results are delivered to http://10.0.0.1:18202",
            ],
        )


class PutAsideTests(ReportsTestCase):
    limits = ReportLimits(1 << 20)

    def make_reports(self) -> Reports:
        client = LearningClient(self.client, self.clock, "1")
        context = Context(self.clock, metrics=self.metrics)
        return Reports(self.outbox, client, self.identity, context, self.limits, lambda: 0.0)

    def setUp(self) -> None:
        super().setUp()
        self.client.react = self.react
        self.response: Any = ServerResponse(500, b"no task a here")
        self.start()

    def react(self, report: Any) -> Any:
        return DELIVERED if report["result"] == "second" else self.response

    def put_two(self) -> None:
        self.successResultOf(self.reports.put([TaskResult("a", 2, "first"), TaskResult("a", 2, "second")]))

    def test_after_the_tries_and_an_hour_later_results_go_on(self) -> None:
        self.put_two()
        self.clock.pump([1] * (HOUR - 1))
        self.assertEqual((self.outbox.refused, self.reports.pending()), ([], 2))
        self.assertGreater(len(self.sent()), 20)
        with capturedLogs() as events:
            self.clock.pump([1] * 30)
        self.assertEqual(self.outbox.refused, [("a", "HTTP status 500: no task a here")])
        self.assertEqual((self.reports.delivered, self.reports.pending(), self.kept()), (1, 0, []))
        self.assertEqual(self.counted("put aside"), 1)
        tries = len(self.sent()) - 1
        self.assertEqual(self.counted("retry"), tries - 1)
        self.assertIn(
            f"the result of task a is put aside: the control plane responded to {tries} tries in 60 minutes"
            " and did not take it: HTTP status 500: no task a here",
            [formatEvent(event) for event in events],
        )
        self.clock.advance(HOUR)
        self.assertEqual((len(self.sent()), self.clock.getDelayedCalls()), (tries + 1, []))

    def test_an_hour_alone_is_not_enough(self) -> None:
        self.put_two()
        self.response = ConnectionRefusedError()
        self.clock.pump([30] * 300)
        self.response = FAILED
        self.clock.pump([30] * 10)
        self.assertEqual((self.outbox.refused, self.reports.pending()), ([], 2))

    def test_what_gets_no_response_never_counts(self) -> None:
        for response in (ConnectionRefusedError(), BUSY, ServerResponse(401, b"")):
            self.response = response
            self.put_two()
            self.clock.pump([30] * 300)
            self.assertEqual(self.outbox.refused, [])
            self.response = DELIVERED
            self.clock.advance(30)
            self.assertEqual(self.reports.pending(), 0)

    def test_no_address_never_counts(self) -> None:
        self.identity.server = ServerAddress()
        self.put_two()
        self.clock.pump([30] * 300)
        self.assertEqual((self.outbox.refused, self.reports.pending()), ([], 2))

    def restart(self) -> None:
        """Begin another run with what this one has noted, hours later."""
        self.successResultOf(self.reports.stopService())
        self.outbox.closed = False
        _, tries, waited, words = self.outbox.noted[-1]
        self.assertEqual(words, "HTTP status 500: no task a here")
        first = min(self.outbox.entries)
        self.outbox.entries[first] = evolve(self.outbox.entries[first], tries=tries, waited=waited)
        self.clock.advance(10 * HOUR)  # nobody asked the control plane meanwhile
        self.reports = self.make_reports()
        self.start()

    def test_the_tries_of_earlier_runs_count(self) -> None:
        self.put_two()
        self.clock.pump([1] * (HOUR // 2))
        self.restart()
        self.clock.pump([1] * 60)
        self.assertEqual(self.outbox.refused, [])
        self.clock.pump([1] * (HOUR // 2))
        self.assertEqual(self.outbox.refused, [("a", "HTTP status 500: no task a here")])


class FewTriesTests(PutAsideTests):
    """The same, with other limits; and each result has its own count."""

    limits = ReportLimits(1 << 20, tries=3, patience=HOUR)

    def test_an_hour_alone_is_not_enough(self) -> None:
        self.put_two()
        self.response = ConnectionRefusedError()
        self.clock.pump([30] * 300)
        self.response = FAILED
        self.clock.advance(30)
        self.assertEqual((self.outbox.refused, self.reports.pending()), ([], 2))
        self.clock.advance(30)
        self.assertEqual(len(self.outbox.refused), 1)

    def test_after_the_tries_and_an_hour_later_results_go_on(self) -> None:
        self.put_two()
        self.clock.pump([1] * (HOUR - 1))
        self.assertEqual(self.outbox.refused, [])
        self.clock.pump([1] * 30)
        self.assertEqual(len(self.outbox.refused), 1)


class NoPatienceTests(PutAsideTests):
    limits = ReportLimits(1 << 20, tries=3, patience=0.0)

    def test_the_tries_of_earlier_runs_count(self) -> None:
        self.put_two()
        self.clock.advance(1)
        self.assertEqual(self.outbox.refused, [])
        self.restart()
        self.assertEqual(len(self.outbox.refused), 1)

    def test_after_the_tries_and_an_hour_later_results_go_on(self) -> None:
        """Without the hour: at the third try, 3 s after the first; the next result has three of its own."""
        self.successResultOf(self.reports.put([TaskResult("a", 2, "1"), TaskResult("a", 2, "2")]))
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.outbox.refused), 1)
        self.assertEqual(len(self.sent()), 4)
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.outbox.refused), 2)
        self.assertEqual((len(self.sent()), self.reports.pending()), (6, 0))

    def test_an_hour_alone_is_not_enough(self) -> None:
        self.put_two()
        self.clock.pump([1] * 2)
        self.assertEqual(self.outbox.refused, [])


class LongListTests(HeldTestCase):
    """Thousands of results are put into their queues in parts, between which the reactor has its turn."""

    count = 3 * SORTED_AT_ONCE
    limit = 1 << 30

    def test_a_long_list_is_sorted_in_parts_and_counts_at_once(self) -> None:
        self.client.react = lambda report: DELIVERED
        self.put(*names(self.count))
        self.assertEqual(self.reports.delivered, SORTED_AT_ONCE)
        self.assertEqual(self.reports.pending(), 2 * SORTED_AT_ONCE)
        self.clock.advance(0)
        self.assertEqual(self.reports.delivered, self.count)
        self.assertEqual((self.reports.pending(), self.clock.getDelayedCalls()), (0, []))

    def test_order_is_kept_among_what_comes_meanwhile(self) -> None:
        self.client.react = lambda report: DELIVERED
        texts = [str(number) for number in range(self.count)]
        self.successResultOf(self.reports.put([TaskResult("a", 2, text) for text in texts]))
        self.successResultOf(self.reports.put([TaskResult("a", 2, "last")]))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0] * 5)
        self.assertEqual([report["result"] for _, report, _ in self.client.posts], [*texts, "last"])

    def test_stopping_in_between(self) -> None:
        self.put(*names(self.count))
        stopped = self.reports.stopService()
        self.clock.advance(3)
        self.successResultOf(stopped)
        self.assertEqual((self.clock.getDelayedCalls(), len(self.kept())), ([], self.count))

    def test_many_of_an_earlier_run(self) -> None:
        self.successResultOf(self.outbox.append("old", results(*names(self.count))))
        self.reports = self.make_reports()
        started = self.reports.startService()
        self.assertNoResult(started)
        self.clock.pump([0, 0])
        self.successResultOf(started)
        self.assertEqual((self.reports.pending(), len(self.held)), (self.count, CONCURRENCY))

    def test_the_garbage_collector_works_after_the_start(self) -> None:
        self.reports = self.make_reports()
        self.outbox.broken = StartupError("the file")
        self.failureResultOf(self.reports.startService(), StartupError)
        self.assertTrue(gc.isenabled())
        self.outbox.broken = None
        self.successResultOf(self.reports.startService())
        self.assertTrue(gc.isenabled())

    def test_many_of_an_earlier_run_count_for_the_limit(self) -> None:
        self.successResultOf(self.outbox.append("old", results(*names(self.count))))
        self.limit = 200 * self.count
        self.reports = self.make_reports()
        started = self.reports.startService()
        self.clock.pump([0, 0])
        self.successResultOf(started)
        self.failureResultOf(self.reports.put(results("new")), OutboxFullError)


class ChanceTests(ReportsTestCase):
    def test_a_pause_is_shorter_by_up_to_a_quarter(self) -> None:
        for number, expected in ((0.0, 1.0), (0.5, 0.875), (1.0, 0.75)):
            clock = Clock()
            pace = Pace(clock, lambda: None, [number].pop)
            pace.failed(pace.begin())
            self.assertEqual([call.getTime() for call in clock.getDelayedCalls()], [expected])
