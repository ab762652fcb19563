"""Tests for scfd.reports.delivery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sqlite3 import IntegrityError, OperationalError
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.control_plane.learning import LearningClient
from scfd.errors import OutboxFullError, StartupError, StorageError
from scfd.events.event import TaskResult
from scfd.identity import Identity, ServerAddress
from scfd.reports.delivery import FLUSH_LIMIT, ReportLimits, Reports
from scfd.reports.outbox import PENDING, PUT_ASIDE, Entry, Outbox
from scfd.reports.pace import CONCURRENCY
from scfd.reports.state_dir import Folder
from scfd.reports.storage import PAUSE, SLOW
from scfd.status.context import Context
from scfd.status.metrics import Metrics
from scfd.status.readiness import Readiness
from tests.http_fakes import FakeControlPlaneClient, Peer

URL = "http://10.0.0.1:18202/gateway/collectmgr/ReportTaskStatus"
DELIVERED = ServerResponse(200, b'{"code": 200}')
REFUSED = ServerResponse(404, b"no such task")
FAILED = ServerResponse(500, b"")


class MemoryOutbox:
    """
    An outbox without a disk.

    :ivar entries: what it keeps, by number.
    :ivar refused: (task id, words) of what was put aside.
    :ivar noted: (task id, tries, seconds, words) of those that were not taken.
    :ivar put_aside: how many an earlier run has put aside.
    :ivar dropped: how many of these are too many for `tidy`.
    :ivar broken: an exception that everything is to fail with.
    :ivar held: when a list, removals wait in it until the test lets them go.
    :ivar closed: whether it is.
    """

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.refused: list[tuple[str, str]] = []
        self.noted: list[tuple[str, int, float, str]] = []
        self.put_aside = self.dropped = 0
        self.broken: Exception | None = None
        self.held: list[Deferred[None]] | None = None
        self.closed = False
        self.tidied = 0
        self._last = 0

    def _done(self, value: Any = None) -> Deferred[Any]:
        assert not self.closed, "the outbox is closed"
        return succeed(value) if self.broken is None else fail(self.broken)

    def open(self) -> Deferred[list[Entry]]:
        return self._done(list(self.entries.values()))

    def append(self, node_id: str, results: Sequence[TaskResult]) -> Deferred[list[Entry]]:
        entries = []
        for result in results:
            self._last += 1
            entries.append(Entry(self._last, node_id, result))
        if self.broken is None:
            self.entries.update({entry.seq: entry for entry in entries})
        return self._done(entries)

    def remove(self, seqs: Iterable[int]) -> Deferred[None]:
        numbers = list(seqs)

        def forget(_: object) -> None:
            for seq in numbers:
                self.entries.pop(seq, None)  # discarded on their way

        if self.held is None:
            return self._done().addCallback(forget)
        assert not self.closed, "the outbox is closed"
        self.held.append(Deferred())
        return self.held[-1].addCallback(forget)

    def refuse(self, entry: Entry, words: str) -> Deferred[None]:
        self.refused.append((entry.result.task_id, words))
        return self.remove([entry.seq])

    def note(self, entry: Entry, words: str) -> Deferred[None]:
        self.noted.append((entry.result.task_id, entry.tries, entry.waited, words))
        return self._done()

    def check(self) -> Deferred[None]:
        return self._done()

    def count_put_aside(self) -> Deferred[int]:
        return self._done(self.put_aside)

    def retry(self, seqs: Sequence[int]) -> Deferred[list[Entry]]:
        """Those with a number from 1000 on were put aside."""
        self.put_aside -= sum(seq >= 1000 for seq in seqs)
        return self.append("node-abc", [TaskResult(f"t{seq}", 2) for seq in seqs if seq >= 1000])

    def discard(self, seqs: Sequence[int]) -> Deferred[list[tuple[int, str, str]]]:
        gone = [(seq, "", PUT_ASIDE) for seq in seqs if seq >= 1000]
        gone += [(seq, self.entries.pop(seq).result.task_id, PENDING) for seq in seqs if seq in self.entries]
        return self._done(gone)

    def tidy(self) -> Deferred[int]:
        self.tidied += 1
        return self._done(self.dropped)

    def close(self) -> Deferred[None]:
        done = self._done()
        self.closed = True
        return done


def results(*names: str) -> list[TaskResult]:
    return [TaskResult(name, 2) for name in names]


class ReportsTestCase(SynchronousTestCase):
    limit = 1 << 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.outbox: Any = MemoryOutbox()
        self.client: Any = FakeControlPlaneClient(lambda report: DELIVERED)
        self.identity = Identity("node-abc", "v1.0.0", ServerAddress("10.0.0.1", 18202))
        self.metrics = Metrics()
        self.readiness = Readiness(lambda: 0.0)
        self.reports = self.make_reports()

    def make_reports(self) -> Reports:
        context = Context(self.clock, metrics=self.metrics, readiness=self.readiness)
        client = LearningClient(self.client, self.clock, "1")
        client.on_doubt = lambda: client.note("http://10.0.0.1:18202", 1)  # as a heartbeat would find out
        return Reports(self.outbox, client, self.identity, context, ReportLimits(self.limit), lambda: 0.0)

    def start(self) -> None:
        self.successResultOf(self.reports.startService())

    def put(self, *names: str) -> None:
        self.successResultOf(self.reports.put(results(*names)))

    def sent(self) -> list[str]:
        """The task ids of all tries so far, in order."""
        return [report["id"] for _, report, _ in self.client.posts]

    def kept(self) -> list[str]:
        return [entry.result.task_id for entry in self.outbox.entries.values()]

    def counted(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("scfd_reports_total", {"outcome": outcome})

    def figures(self) -> bytes:
        """What GET /metrics shows."""
        return b"".join(self.metrics.exposition())


class DeliveryTests(ReportsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_one_post_a_result(self) -> None:
        self.successResultOf(self.reports.put([TaskResult("task-001", 2), TaskResult("task-002", 4, "why")]))
        self.assertEqual(
            self.client.posts,
            [
                (URL, {"id": "task-001", "node_id": "node-abc", "status": 2, "result": ""}, 10.0),
                (URL, {"id": "task-002", "node_id": "node-abc", "status": 4, "result": "why"}, 10.0),
            ],
        )
        self.assertEqual((self.reports.delivered, self.reports.pending(), self.kept()), (2, 0, []))
        self.assertEqual(self.counted("delivered"), 2)

    def test_nothing_to_put(self) -> None:
        self.put()
        self.assertEqual(self.client.posts, [])

    def test_putting_does_not_wait_for_the_control_plane(self) -> None:
        self.client.react = lambda report: Deferred()
        self.put("a")
        self.assertEqual((self.reports.pending(), self.kept()), (1, ["a"]))

    def test_putting_fails_when_the_result_is_at_fault(self) -> None:
        self.outbox.broken = IntegrityError("not that result")
        self.failureResultOf(self.reports.put(results("a")), IntegrityError)
        self.assertEqual((self.client.posts, self.reports.pending()), ([], 0))
        self.outbox.broken = None
        self.put("b")
        self.assertEqual(self.sent(), ["b"])

    def test_the_node_id_is_that_of_the_moment_of_acceptance(self) -> None:
        self.client.react = lambda report: FAILED
        self.put("a")
        self.identity.node_id = "renamed"
        self.clock.advance(1)
        self.assertEqual([report["node_id"] for _, report, _ in self.client.posts], ["node-abc"] * 2)

    def test_goes_to_the_address_of_the_moment(self) -> None:
        self.client.react = lambda report: FAILED
        self.put("a")
        self.identity.server = ServerAddress(url="https://moox.example/base/")
        self.clock.advance(1)
        self.assertEqual(
            self.client.posts[1][0],
            "https://moox.example/base/gateway/collectmgr/ReportTaskStatus",
        )

    def test_many_tasks_at_a_time_but_not_all(self) -> None:
        pending: list[Deferred[ServerResponse]] = []

        def react(report: Any) -> Deferred[ServerResponse]:
            pending.append(Deferred())
            return pending[-1]

        self.client.react = react
        self.put(*(f"task-{n}" for n in range(CONCURRENCY + 5)))
        self.assertEqual(len(pending), CONCURRENCY)
        pending[3].callback(DELIVERED)
        self.assertEqual(len(pending), CONCURRENCY + 1)

    def test_tidying_tidies_the_outbox(self) -> None:
        self.successResultOf(self.reports.tidy(0.0))
        self.assertEqual(self.outbox.tidied, 1)


class OrderTests(ReportsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pending: list[tuple[str, Deferred[ServerResponse]]] = []
        self.client.react = self.react
        self.start()

    def react(self, report: Any) -> Deferred[ServerResponse]:
        response: Deferred[ServerResponse] = Deferred()
        self.pending.append((report["id"] + report["result"], response))
        return response

    def put_numbered(self, *pairs: tuple[str, int]) -> None:
        self.successResultOf(self.reports.put([TaskResult(name, 2, str(n)) for name, n in pairs]))

    def under_way(self) -> list[str]:
        return [name for name, response in self.pending if not response.called]

    def respond(self, name: str, response: ServerResponse) -> None:
        next(waiting for known, waiting in self.pending if known == name and not waiting.called).callback(
            response
        )

    def test_one_of_a_task_at_a_time(self) -> None:
        self.put_numbered(("a", 1), ("a", 2), ("b", 1), ("a", 3))
        self.assertEqual(self.under_way(), ["a1", "b1"])
        self.respond("a1", DELIVERED)
        self.assertEqual(self.under_way(), ["b1", "a2"])
        self.respond("a2", DELIVERED)
        self.respond("a3", DELIVERED)
        self.respond("b1", DELIVERED)
        self.assertEqual((self.under_way(), self.reports.pending()), ([], 0))

    def test_later_ones_wait_behind_one_that_is_tried_again(self) -> None:
        self.put_numbered(("a", 1))
        self.put_numbered(("a", 2), ("b", 1))
        self.respond("a1", FAILED)
        self.respond("b1", DELIVERED)
        self.put_numbered(("a", 3))
        self.assertEqual(self.under_way(), [])
        self.clock.advance(1)
        self.assertEqual(self.under_way(), ["a1"])
        self.respond("a1", DELIVERED)
        self.assertEqual(self.under_way(), ["a2"])

    def test_a_refused_one_makes_way(self) -> None:
        self.put_numbered(("a", 1), ("a", 2))
        self.respond("a1", REFUSED)
        self.assertEqual(self.under_way(), ["a2"])

    def test_the_next_one_waits_until_the_last_is_forgotten(self) -> None:
        self.outbox.held = []
        self.put_numbered(("a", 1), ("a", 2))
        self.respond("a1", DELIVERED)
        self.assertEqual(self.under_way(), [])
        self.outbox.held.pop().callback(None)
        self.assertEqual(self.under_way(), ["a2"])

    def test_tasks_take_turns(self) -> None:
        """A task with many results does not keep the others waiting."""
        names = [f"t{n}" for n in range(CONCURRENCY)]
        self.put_numbered(*((name, 1) for name in names), *((name, 2) for name in names), ("late", 1))
        self.respond("t01", DELIVERED)
        self.respond("t11", DELIVERED)
        self.assertEqual(self.under_way()[-2:], ["late1", "t02"])


class DiskTests(ReportsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()
        self.outbox.broken = OperationalError("database or disk is full")

    def test_what_the_disk_refuses_waits_in_order_until_it_is_taken(self) -> None:
        with capturedLogs() as events:
            done = [self.reports.put(results(name)) for name in "aba"]
            self.clock.pump([PAUSE] * 5)
        self.assertEqual(len(events), 1)
        self.assertIn("the disk takes no task results: database or disk is full", formatEvent(events[0]))
        self.assertIn(b"scfd_storage_errors_total 6.0", self.figures())
        for deferred in done:
            self.assertNoResult(deferred)
        self.outbox.broken = None
        self.clock.pump([PAUSE, 0, 0])
        for deferred in done:
            self.successResultOf(deferred)
        self.assertEqual((self.sent(), self.reports.pending()), (["a", "b", "a"], 0))

    def test_an_error_of_the_file_system_is_one_of_the_disk(self) -> None:
        self.outbox.broken = OSError(30, "Read-only file system")
        done = self.reports.put(results("a"))
        self.assertNoResult(done)
        self.outbox.broken = None
        self.clock.advance(PAUSE)
        self.successResultOf(done)

    def test_what_comes_while_a_try_is_under_way_waits_behind_it(self) -> None:
        """When the disk refuses the first of them and has room again at once, the second is not earlier."""
        tries: list[Deferred[Any]] = []
        append, self.outbox.broken = self.outbox.append, None

        def slowly(node_id: str, some: Sequence[TaskResult]) -> Deferred[Any]:
            tries.append(Deferred())
            return tries[-1].addCallback(lambda _: append(node_id, some))

        self.outbox.append = slowly
        for name in "ab":
            self.reports.put(results(name))
        tries[0].errback(OperationalError("database or disk is full"))
        for attempt in tries[1:]:
            attempt.callback(None)
        self.outbox.append = append
        self.clock.advance(PAUSE)
        self.assertEqual(self.sent(), ["a", "b"])

    def test_stopping_lets_a_try_under_way_end(self) -> None:
        self.outbox.broken = None
        appending: Deferred[Any] = Deferred()
        self.outbox.append = lambda node_id, some: appending
        done = [self.reports.put(results(name)) for name in "ab"]
        self.successResultOf(self.reports.stopService())
        self.assertNoResult(done[0])
        self.failureResultOf(done[1], StorageError)
        appending.errback(OperationalError("database is locked"))
        self.failureResultOf(done[0], StorageError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_tidying_that_fails_is_one_line(self) -> None:
        with capturedLogs() as events:
            self.successResultOf(self.reports.tidy(0.0))
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["the outbox is not tidied: database or disk is full; tried again in an hour"],
        )
        self.assertIn(b"scfd_storage_errors_total 1.0", self.figures())

    def test_a_disk_that_hangs(self) -> None:
        """It gives no error either: what it is asked for never ends."""
        append = self.outbox.append
        appending: Deferred[Any] = Deferred()
        self.outbox.broken, self.outbox.append = None, lambda node_id, some: appending
        with capturedLogs() as events:
            done = [self.reports.put(results(name)) for name in "ab"]
            for _ in range(10):
                self.clock.advance(SLOW / 5)
                self.reports.look(self.clock.seconds())
            text = "the disk takes no task results: it has not responded for 5 s"
            self.assertEqual([problem.reason for problem in self.readiness.problems()], [text])
            self.outbox.append = append
            appending.callback(self.successResultOf(append("node-abc", results("a"))))
        for deferred in done:
            self.successResultOf(deferred)
        self.assertEqual(self.readiness.problems(), [])
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                text,
                "the disk takes task results again",
                "task results are delivered to http://10.0.0.1:18202",
            ],
        )

    def test_an_outbox_that_nothing_is_written_to_is_looked_at(self) -> None:
        with capturedLogs() as events:
            for second in range(20):
                self.reports.look(float(second))
                self.clock.advance(1)
        self.assertIn("the disk takes no task results", formatEvent(events[0]))
        self.outbox.broken = None
        self.clock.advance(PAUSE)
        self.assertEqual(self.readiness.problems(), [])

    def test_stopping_fails_what_waits(self) -> None:
        done = self.reports.put(results("a"))
        self.outbox.broken = None
        self.successResultOf(self.reports.stopService())
        self.failureResultOf(done, StorageError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FullTests(ReportsTestCase):
    """Two results of short names fit in, across a restart too; what is delivered makes room."""

    limit = 450

    def setUp(self) -> None:
        super().setUp()
        self.client = FakeControlPlaneClient(lambda report: FAILED)
        self.reports = self.make_reports()
        self.start()
        self.put("a", "b")

    def test_no_more_are_taken(self) -> None:
        failure = self.failureResultOf(self.reports.put(results("c")), OutboxFullError)
        self.assertEqual(failure.getErrorMessage(), "2 task results wait for delivery, no more are taken")
        self.assertIn(b'scfd_results_dropped_total{reason="outbox full"} 1.0', self.figures())
        self.assertEqual(self.reports.pending(), 2)

    def test_operators_are_told_until_there_is_room(self) -> None:
        self.failureResultOf(self.reports.put(results("c")), OutboxFullError)
        (problem,) = self.readiness.all()
        self.assertEqual((problem.component, problem.severity), ("outbox", "problem"))
        self.assertIn("outbox_limit", problem.advice)
        self.client.react = lambda report: DELIVERED
        self.clock.advance(1)
        self.assertEqual(self.readiness.all(), [])

    def test_what_is_delivered_makes_room(self) -> None:
        self.client.react = lambda report: DELIVERED
        self.clock.advance(1)
        self.assertEqual(self.reports.pending(), 0)
        self.put("c", "d")

    def test_what_an_earlier_run_left_counts(self) -> None:
        self.reports = self.make_reports()
        self.start()
        self.failureResultOf(self.reports.put(results("c")), OutboxFullError)

    def test_what_was_not_taken_does_not_count(self) -> None:
        self.client.react = lambda report: DELIVERED
        self.clock.advance(1)
        self.outbox.broken = IntegrityError("not that result")
        for _ in range(5):
            self.failureResultOf(self.reports.put(results("c")), IntegrityError)


class ManyTests(ReportsTestCase):
    def test_many_tasks_that_fail_at_once(self) -> None:
        """Each wait for an address ends at once; as many calls inside one another were too many."""
        self.identity.server = ServerAddress()
        self.start()
        names = [f"task-{number}" for number in range(2000)]
        self.put(*names)
        self.identity.server = ServerAddress("10.0.0.1", 18202)
        self.clock.advance(1)
        self.assertEqual(self.reports.pending(), 0)
        self.assertEqual(len(self.sent()), 2000)


class NoneTakenTests(ReportsTestCase):
    def test_operators_are_told_while_no_report_is_taken(self) -> None:
        for response in (REFUSED, FAILED):
            with self.subTest(response=response):
                self.client.react = lambda report: response  # noqa: B023
                self.start()
                self.put("a", "b", "c", "d")
                self.clock.pump([1] * 20)
                self.put("e")
                self.clock.pump([1] * 20)
                (warning,) = [one for one in self.readiness.all() if one.component == "reports"]
                self.assertEqual(warning.severity, "warning")
                self.assertIn(f"HTTP status {response.status}", warning.reason)
                self.assertIn("scfd reports", warning.advice)
                self.client.react = lambda report: DELIVERED
                self.put("f")
                self.clock.pump([1] * 40)
                self.assertNotIn("reports", [one.component for one in self.readiness.all()])
                self.successResultOf(self.reports.stopService())
                self.setUp()


class RefusedTests(ReportsTestCase):
    def test_is_logged_counted_and_kept_aside(self) -> None:
        self.start()
        self.client.react = lambda report: ServerResponse(404, b"no such task")
        with capturedLogs() as events:
            self.put("a")
        self.assertEqual(self.outbox.refused, [("a", "HTTP status 404: no such task")])
        self.assertEqual((self.kept(), self.reports.pending(), self.reports.delivered), ([], 0, 0))
        self.assertEqual(self.counted("refused"), 1)
        self.assertIn(
            "the result of task a is refused: HTTP status 404: no such task",
            [formatEvent(event) for event in events],
        )

    def test_is_not_tried_again(self) -> None:
        self.start()
        self.client.react = lambda report: ServerResponse(200, b'{"code": 409}')
        self.put("a")
        self.clock.advance(1000)
        self.assertEqual(self.sent(), ["a"])

    def test_long_or_odd_words_are_cut(self) -> None:
        self.start()
        self.client.react = lambda report: ServerResponse(400, b"\xff" * 1000)
        self.put("a")
        self.assertEqual(self.outbox.refused, [("a", "HTTP status 400: " + "\ufffd" * 200)])


class RetryTests(ReportsTestCase):
    def times_of_tries(self, seconds: int) -> list[float]:
        times: list[float] = []
        react = self.client.react

        def note(report: Any) -> Any:
            times.append(self.clock.seconds())
            return react(report)

        self.client.react = note
        self.start()
        self.put("a")
        self.clock.pump([1] * seconds)
        return times

    def test_pauses_are_doubled_up_to_30_seconds(self) -> None:
        self.client.react = lambda report: FAILED
        self.assertEqual(self.times_of_tries(130), [0, 1, 3, 7, 15, 31, 61, 91, 121])
        self.assertEqual((self.kept(), self.counted("retry")), (["a"], 9))

    def test_an_outage_of_days_does_not_end_the_tries(self) -> None:
        self.client.react = lambda report: ConnectionRefusedError()
        self.start()
        self.put("a")
        self.clock.pump([30] * 3000)  # a day and an hour
        self.client.react = lambda report: DELIVERED
        self.clock.advance(30)
        self.assertEqual((self.reports.delivered, self.kept()), (1, []))

    def test_every_kind_of_failure(self) -> None:
        for outcome in (
            ConnectionRefusedError(),
            TimeoutError(),
            FAILED,
            ServerResponse(200, b'{"code": 5}'),
        ):
            with self.subTest(outcome=outcome):
                self.outbox, self.clock = MemoryOutbox(), Clock()
                self.reports = self.make_reports()
                self.client.react = lambda report, o=outcome: o
                self.start()
                self.put("a")
                self.assertEqual(self.reports.pending(), 1)
                self.client.react = lambda report: DELIVERED
                self.clock.advance(1)
                self.assertEqual(self.reports.pending(), 0)

    def test_a_success_makes_the_pauses_short_again(self) -> None:
        outcomes = [FAILED, FAILED, DELIVERED, FAILED, DELIVERED]
        self.client.react = lambda report: outcomes.pop(0)
        self.start()
        self.put("a", "a")
        self.clock.pump([1, 2, 1])
        self.assertEqual((outcomes, self.reports.pending()), ([], 0))

    def test_no_address_yet(self) -> None:
        self.identity.server = ServerAddress()
        self.start()
        self.put("a")
        self.clock.pump([1, 2])
        self.assertEqual((self.client.posts, self.kept()), ([], ["a"]))
        self.identity.server = ServerAddress("10.0.0.1", 18202)
        self.clock.advance(4)
        self.assertEqual((self.sent(), self.kept()), (["a"], []))

    def test_waits_for_the_id_of_the_node(self) -> None:
        """A control plane refuses reports without one for good."""
        self.identity.node_id = ""
        self.start()
        self.put("a")
        self.clock.pump([1, 2])
        self.assertEqual((self.client.posts, self.kept()), ([], ["a"]))
        self.identity.node_id = "node-abc"
        self.clock.advance(4)
        self.assertEqual([body["node_id"] for _, body, _ in self.client.posts], ["node-abc"])

    def test_a_disk_that_can_not_forget_what_was_delivered(self) -> None:
        """The deletion is tried again, not the delivery."""
        self.start()
        response: Deferred[ServerResponse] = Deferred()
        self.client.react = lambda report: response
        self.put("a")
        self.outbox.broken = OperationalError("database or disk is full")
        response.callback(DELIVERED)
        self.assertEqual(self.reports.pending(), 1)
        self.outbox.broken = None
        self.clock.pump([PAUSE, 0])
        self.assertEqual((self.sent(), self.kept(), self.reports.pending()), (["a"], [], 0))

    def test_only_a_change_is_logged(self) -> None:
        self.start()
        outcomes = [FAILED, FAILED, DELIVERED, DELIVERED]
        self.client.react = lambda report: outcomes.pop(0)
        with capturedLogs() as events:
            self.put("a", "a")
            self.clock.pump([1, 2])
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "task results are kept for later: HTTP status 500: ",
                "task results are delivered to http://10.0.0.1:18202",
            ],
        )


class RestartTests(ReportsTestCase):
    def test_what_an_earlier_run_left_is_delivered_in_order(self) -> None:
        self.successResultOf(self.outbox.append("old-node", results("b", "a", "b")))
        with capturedLogs() as events:
            self.start()
        self.assertEqual(self.sent(), ["b", "a", "b"])
        self.assertEqual({report["node_id"] for _, report, _ in self.client.posts}, {"old-node"})
        self.assertEqual(self.kept(), [])
        self.assertEqual(formatEvent(events[0]), "3 task results of an earlier run are to be delivered")

    def test_a_file_that_can_not_be_used(self) -> None:
        self.outbox.broken = StartupError("the file")
        self.failureResultOf(self.reports.startService(), StartupError)

    def test_a_disk_in_trouble_at_the_start(self) -> None:
        """The node starts all the same; what is put meanwhile comes after what an earlier run left."""
        self.successResultOf(self.outbox.append("old-node", results("a")))
        self.outbox.broken = OperationalError("database is locked")
        with capturedLogs() as events:
            self.start()
        done = self.reports.put([TaskResult("a", 4)])
        self.clock.advance(PAUSE)
        self.assertNoResult(done)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["the disk takes no task results: database is locked; tried again every 2 s"],
        )
        self.assertEqual(len(self.readiness.problems()), 1)
        self.outbox.broken = None
        self.clock.advance(PAUSE)
        self.successResultOf(done)
        self.assertEqual([report["status"] for _, report, _ in self.client.posts], [2, 4])
        self.assertEqual((self.readiness.problems(), self.reports.pending()), ([], 0))

    def test_stopping_while_the_disk_gives_nothing(self) -> None:
        self.outbox.broken = OSError(28, "No space left on device")
        self.start()
        self.outbox.broken = None
        self.successResultOf(self.reports.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_earlier_runs_put_aside_is_counted(self) -> None:
        self.outbox.put_aside = 3
        self.start()
        self.assertEqual(self.reports.put_aside(), 3)
        (warning,) = self.readiness.all()
        self.assertEqual(
            (warning.component, warning.severity, warning.reason),
            ("task results", "warning", "3 put aside: the control plane refused them, or never took them"),
        )


class OperatorTests(ReportsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.response: Any = FAILED
        self.client.react = lambda report: self.response
        self.outbox.put_aside = 2
        self.start()

    def done(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_retrying_one_that_was_put_aside(self) -> None:
        self.response = DELIVERED
        self.assertEqual(self.done(self.reports.retry([1000, 1001])), 2)
        self.assertEqual((self.sent(), self.reports.put_aside()), (["t1000", "t1001"], 0))
        self.assertEqual(self.readiness.all(), [])

    def test_retrying_one_that_pauses(self) -> None:
        self.put("a")
        self.response = DELIVERED
        self.assertEqual(self.done(self.reports.retry([1, 7])), 1)
        self.assertEqual((self.sent(), self.reports.pending()), (["a", "a"], 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_discarding(self) -> None:
        self.put("a", "a", "b")
        self.assertEqual(self.done(self.reports.discard([1, 3, 1000, 99])), 3)
        self.assertEqual((self.reports.pending(), self.reports.put_aside()), (1, 1))
        self.response = DELIVERED
        self.clock.advance(2)
        self.assertEqual((self.sent(), self.reports.pending(), self.kept()), (["a", "b", "a"], 0, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_discarding_one_that_is_on_its_way(self) -> None:
        """It is not tried again, whatever comes back."""
        for response in (FAILED, DELIVERED):
            self.client.posts.clear()
            self.response = Deferred()
            self.put("a", "a")
            first = min(self.outbox.entries)
            self.assertEqual(self.done(self.reports.discard([first])), 1)
            on_its_way, self.response = self.response, DELIVERED
            on_its_way.callback(response)
            self.clock.advance(0)
            self.assertEqual((len(self.sent()), self.reports.pending(), self.kept()), (2, 0, []))

    def test_what_is_discarded_makes_room(self) -> None:
        self.put("a")
        size = self.reports._size
        self.done(self.reports.discard([1]))
        self.assertEqual((self.reports._size, size > 0), (0, True))

    def test_the_oldest_are_dropped_when_there_are_too_many(self) -> None:
        self.outbox.dropped = 1
        with capturedLogs() as events:
            self.successResultOf(self.reports.tidy(0.0))
        self.assertEqual(self.reports.put_aside(), 1)
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["1 task results are dropped, the oldest of those put aside"],
        )
        self.assertIn(
            b'scfd_results_dropped_total{reason="too many put aside"} 1.0',
            self.figures(),
        )


class StopTests(ReportsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pending: list[Deferred[ServerResponse]] = []

    def hold(self, report: Any) -> Deferred[ServerResponse]:
        self.pending.append(Deferred())
        return self.pending[-1]

    def test_with_nothing_to_do(self) -> None:
        self.start()
        self.successResultOf(self.reports.stopService())
        self.assertTrue(self.outbox.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_for_a_delivery_under_way(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put("a")
        stopped = self.reports.stopService()
        self.assertNoResult(stopped)
        self.assertFalse(self.outbox.closed)
        self.pending[0].callback(DELIVERED)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.kept(), self.outbox.closed), ([], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_delivery_under_way_that_fails_is_kept(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put("a")
        stopped = self.reports.stopService()
        self.pending[0].callback(FAILED)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.kept(), self.clock.getDelayedCalls()), (["a"], []))

    def test_goes_on_with_what_can_be_delivered(self) -> None:
        """The results that wait for a place, and those that wait behind another one of their task."""
        self.start()
        self.client.react = self.hold
        self.put("a", "a", *(f"task-{n}" for n in range(CONCURRENCY)))
        stopped = self.reports.stopService()
        for response in self.pending:  # grows on the way
            self.assertNoResult(stopped)
            response.callback(DELIVERED)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((len(self.pending), self.kept()), (CONCURRENCY + 2, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_goes_on_although_one_is_under_way_at_a_time(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put("a", "a", "a")
        stopped = self.reports.stopService()
        for response in self.pending:
            response.callback(DELIVERED)
            self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((len(self.pending), self.kept()), (3, []))

    def test_begins_no_further_delivery_past_the_limit(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put(*(f"task-{n}" for n in range(CONCURRENCY + 1)))
        stopped = self.reports.stopService()
        self.clock.advance(FLUSH_LIMIT)
        self.successResultOf(stopped)
        for response in self.pending:
            response.callback(DELIVERED)
        self.assertEqual(len(self.pending), CONCURRENCY)
        self.assertEqual(len(self.kept()), CONCURRENCY + 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_waits_until_what_was_delivered_is_forgotten(self) -> None:
        self.start()
        self.outbox.held = []
        self.put("a")
        stopped = self.reports.stopService()
        self.assertFalse(self.outbox.closed)
        self.outbox.held.pop().callback(None)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.kept(), [])

    def test_does_not_wait_for_ever(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put("a", "a")
        stopped = self.reports.stopService()
        self.clock.advance(FLUSH_LIMIT - 0.1)
        self.assertNoResult(stopped)
        self.clock.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual((self.kept(), self.outbox.closed), (["a", "a"], True))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_response_that_comes_after_the_stop_harms_nobody(self) -> None:
        self.start()
        self.client.react = self.hold
        self.put("a")
        self.reports.stopService()
        self.clock.advance(FLUSH_LIMIT)
        self.pending[0].callback(DELIVERED)
        self.assertEqual(self.kept(), ["a"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_pauses_end(self) -> None:
        self.start()
        self.client.react = lambda report: FAILED
        self.put("a", "b")
        with capturedLogs() as events:
            self.successResultOf(self.reports.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(
            [formatEvent(event) for event in events], ["2 task results are kept for the next run"]
        )


class OnARealDiskTests(TestCase):
    """The whole way, with the outbox on disk and a real HTTP client."""

    timeout = 20

    def setUp(self) -> None:
        self.held = Folder(self.mktemp())
        self.addCleanup(self.held.release)
        self.server = Peer()

    def make_reports(self) -> Reports:
        from twisted.internet import reactor  # not before the package's __init__ has chosen it

        identity = Identity("node-abc", "v1", ServerAddress("10.0.0.1", 18202))
        http = ControlPlaneClient(self.server.http(), self.server.reactor)
        client = LearningClient(http, reactor, "1")
        client.on_doubt = lambda: client.note("http://10.0.0.1:18202", 1)
        return Reports(
            Outbox(self.held, reactor),
            client,
            identity,
            Context(reactor),
            ReportLimits(1 << 20),
        )

    async def test_what_is_not_delivered_waits_for_the_next_run(self) -> None:
        reports = self.make_reports()
        await reports.startService()
        await reports.put([TaskResult("a", 2, "fine"), TaskResult("b", 4, "broken")])
        self.server.refuse(ConnectionRefusedError())
        self.server.refuse(ConnectionRefusedError())
        await reports.stopService()

        reports = self.make_reports()
        await reports.startService()
        wire = self.server.accept()
        self.assertTrue(
            wire.value().endswith(b'{"id":"a","node_id":"node-abc","status":2,"result":"fine"}'),
            wire.value(),
        )
        self.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.server.accept()
        self.server.send(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
        await reports.stopService()

        reports = self.make_reports()
        await reports.startService()
        wire = self.server.accept()
        self.assertIn(b'"id":"b"', wire.value())
        self.server.send(b"HTTP/1.1 404 No such task\r\nContent-Length: 0\r\n\r\n")
        await reports.stopService()
        self.assertEqual(reports.pending(), 0)
