"""Tests for scfd.control_plane.heartbeat."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import strategies
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane import heartbeat
from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.control_plane.generations import decoded
from scfd.control_plane.heartbeat import Heartbeat, HeartbeatRecord, VersionLog, host_metadata
from scfd.control_plane.learning import Exchange, LearningClient
from scfd.control_plane.orders import Orders, RefusedError, RetryError, read_response
from scfd.events.tasks import LONG_LIST, TaskSnapshot, TaskStore, read_tasks
from scfd.identity import Identity, ServerAddress
from scfd.status.context import Context
from scfd.status.metrics import Metrics
from scfd.status.readiness import Readiness
from tests.fakes import FakeAdapter
from tests.http_fakes import FakeControlPlaneClient, Peer
from tests.properties import given

SERVER = "http://10.0.0.1:18202"
URL = f"{SERVER}/gateway/cloudnode/ReportHeartbeatInner"
#: The digest of task-001 and task-002, from the contract with the control plane.
TWO_TASKS_MD5 = "933de3e4a87c37ff6e7234b5eaf845d2"
INTERVAL = 9.0  # seconds


def responds(*data: Any, **fields: Any) -> ServerResponse:
    """An acceptance; `data` and other fields as given."""
    value = {"code": 200, "message": "heartbeat reported successfully", "data": list(data), **fields}
    return ServerResponse(200, json.dumps(value).encode())


def tasks(*names: str) -> list[dict[str, Any]]:
    return [{"id": n, "task_id": name, "invalid": 0} for n, name in enumerate(names)]


def parse_response(body: bytes) -> Orders:
    """What a body of generation 1 asks for."""
    response = ServerResponse(200, body)
    return read_response(Exchange(1, 1, response, decoded(response), True))


class ParseResponseTests(SynchronousTestCase):
    def test_the_documented_response(self) -> None:
        instances = [
            {
                "id": 1,
                "task_id": "task-001",
                "rule_id": "rule-001",
                "planned_exec_node": "node-abc",
                "task_params": '{"data_source":"binance","symbol":"BTC-USDT","intervals":["1m"]}',
                "invalid": 0,
                "data_type": "kline",
            }
        ]
        entry = {"package_version": "v1.0.0", "tasks_md5": "x", "task_instances": instances}
        self.assertEqual(parse_response(responds(entry).body), Orders(instances, "v1.0.0"))

    def test_responses_without_orders(self) -> None:
        for body in (
            b'{"code": 200}',
            b'{"code": 200.0}',
            b'{"code": 200, "data": null}',
            b'{"code": 200, "data": []}',
            b'{"code": 200, "data": [null]}',
            b'{"code": 200, "data": ["x", {"package_version": "v2"}]}',
            b'{"code": 200, "data": [{}]}',
            b'{"code": 200, "data": [{"package_version": ""}]}',
            b'{"code": 200, "data": [{"package_version": 2}]}',
            b'{"code": 200, "data": [{"task_instances": null, "tasks_md5": "empty"}]}',
            b'{"code": 200, "data": [{"task_instances": []}]}',
            b'{"code": 200, "data": [{"task_instances": [], "tasks_md5": ""}]}',
            b'{"code": 200, "data": [{"task_instances": [], "tasks_md5": "initializing"}]}',
            b'{"code": 200, "data": [{"task_instances": [{"task_id": "a"}], "tasks_md5": "initializing"}]}',
        ):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), Orders())

    def test_an_empty_list_with_the_digest_of_nothing_clears(self) -> None:
        self.assertEqual(
            parse_response(responds({"task_instances": [], "tasks_md5": "empty"}).body), Orders([])
        )

    def test_what_is_no_acceptance(self) -> None:
        for body, text in (
            (b"[]", "the response is not an object with a code"),
            (b"null", "the response is not an object with a code"),
            (b"{}", "the response is not an object with a code"),
            (b'{"code": "200"}', "the response is not an object with a code"),
            (b'{"code": null}', "the response is not an object with a code"),
            (b'{"code": 500, "message": "node unknown"}', "code 500: node unknown"),
            (b'{"code": 0}', "code 0: None"),
            (b'{"code": 200, "data": {}}', "the response's data is not a list"),
            (b'{"code": 200, "data": "x"}', "the response's data is not a list"),
            (
                b'{"code": 200, "data": [{"task_instances": {}}]}',
                "the response's task_instances is not a list",
            ),
        ):
            with self.subTest(body=body):
                self.assertEqual(str(self.assertRaises(RefusedError, parse_response, body)), text)

    @given(strategies.binary())
    def test_any_bytes(self, body: bytes) -> None:
        self.assert_only_refusals(body)

    @given(
        strategies.recursive(
            strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
            lambda inner: (
                strategies.lists(inner, max_size=3)
                | strategies.dictionaries(
                    strategies.sampled_from(
                        ["code", "data", "task_instances", "tasks_md5", "package_version", "x"]
                    ),
                    inner,
                )
            ),
        )
    )
    def test_any_json(self, value: Any) -> None:
        self.assert_only_refusals(json.dumps(value).encode())
        self.assert_only_refusals(json.dumps({"code": 200, "data": [value]}).encode())

    def assert_only_refusals(self, body: bytes) -> None:
        try:
            orders = parse_response(body)
        except RefusedError as error:
            self.assertTrue(str(error))
        else:
            self.assertIsInstance(orders, Orders)


class HostMetadataTests(SynchronousTestCase):
    def test_names(self) -> None:
        metadata = host_metadata()
        self.assertEqual(set(metadata), {"python_version", "os", "arch"})
        self.assertEqual(metadata["python_version"], platform.python_version())
        self.assertEqual(metadata["os"], sys.platform)
        self.assertNotIn(metadata["arch"], ("", "x86_64", "aarch64"))


class HeartbeatTestCase(SynchronousTestCase):
    """
    :ivar wanted: the versions that the heartbeat was told should be running.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.client: Any = FakeControlPlaneClient(lambda beat: responds())
        self.identity = Identity("node-abc", "v1.0.0", ServerAddress("10.0.0.1", 18202))
        self.task_store = TaskStore()
        self.adapter = FakeAdapter()
        self.metrics = Metrics()
        self.readiness = Readiness(self.clock.seconds)
        self.wanted: list[str] = []
        self.heartbeat = self.make_heartbeat(INTERVAL)

    def make_heartbeat(
        self, interval: float, wrong_version: Callable[[str], None] | None = None
    ) -> Heartbeat:
        return Heartbeat(
            LearningClient(self.client, self.clock, "1"),
            self.identity,
            self.task_store,
            self.adapter,
            interval,
            Context(self.clock, self.clock.seconds, self.metrics, self.readiness),
            wrong_version or self.wanted.append,
        )

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        self.clock.pump([step] * round(seconds / step))

    def counted(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("scfd_heartbeats_total", {"outcome": outcome})

    def reasons(self) -> list[str]:
        return [problem.reason for problem in self.readiness.problems()]

    def task_ids(self) -> list[str]:
        return [task["task_id"] for task in self.task_store.get_all()]


class MessageTests(HeartbeatTestCase):
    def sent(self) -> Any:
        self.heartbeat.startService()
        return self.client.posts[0][1]

    def test_says_who_the_node_is(self) -> None:
        self.assertEqual(
            self.sent(),
            {
                "node_id": "node-abc",
                "node_type": "scf",
                "running_version": "v1.0.0",
                "metadata": {"version": "v1.0.0", **host_metadata()},
                "tasks_md5": "empty",
            },
        )

    def test_goes_to_the_control_plane_within_5_seconds(self) -> None:
        self.heartbeat.startService()
        self.assertEqual([(url, timeout) for url, _, timeout in self.client.posts], [(URL, 5.0)])

    def test_says_which_tasks_the_node_has(self) -> None:
        self.task_store.replace(tasks("task-002", "task-001"))
        self.assertEqual(self.sent()["tasks_md5"], TWO_TASKS_MD5)

    def test_carries_what_the_plugin_adds(self) -> None:
        self.adapter.extra = {"supported_collectors": ["kline", "symbol"], "node_type": "mine"}
        message = self.sent()
        self.assertEqual(message["supported_collectors"], ["kline", "symbol"])
        self.assertEqual(message["node_type"], "mine")

    def test_asks_the_plugin_anew_each_time(self) -> None:
        self.heartbeat.startService()
        self.adapter.extra = {"load": 2}
        self.pass_time(INTERVAL)
        self.assertEqual([beat.get("load") for _, beat, _ in self.client.posts], [None, 2])

    def test_a_url_may_have_a_path(self) -> None:
        self.identity.server = ServerAddress(url="https://moox.example/base/")
        self.heartbeat.startService()
        self.assertEqual(
            self.client.posts[0][0],
            "https://moox.example/base/gateway/cloudnode/ReportHeartbeatInner",
        )


class IntervalTests(HeartbeatTestCase):
    def test_the_first_at_once_and_then_one_each_interval(self) -> None:
        self.heartbeat.startService()
        self.assertEqual(len(self.client.posts), 1)
        self.pass_time(8.5)
        self.assertEqual(len(self.client.posts), 1)
        self.pass_time(0.5)
        self.assertEqual(len(self.client.posts), 2)
        self.pass_time(10 * INTERVAL)
        self.assertEqual(len(self.client.posts), 12)

    def test_none_while_one_is_under_way(self) -> None:
        pending: Deferred[ServerResponse] = Deferred()
        self.client.react = lambda beat: pending
        self.heartbeat.startService()
        self.pass_time(10 * INTERVAL)
        self.assertEqual(len(self.client.posts), 1)

    def test_they_do_not_pile_up(self) -> None:
        pending: Deferred[ServerResponse] = Deferred()
        self.client.react = lambda beat: pending
        self.heartbeat.startService()
        self.pass_time(3 * INTERVAL + 1)
        self.client.react = lambda beat: responds()
        pending.callback(responds())
        self.assertEqual(len(self.client.posts), 1)
        self.pass_time(INTERVAL - 1)
        self.assertEqual(len(self.client.posts), 2)

    def test_none_after_the_stop(self) -> None:
        self.heartbeat.startService()
        self.heartbeat.stopService()
        self.pass_time(3 * INTERVAL)
        self.assertEqual(len(self.client.posts), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_while_a_try_is_under_way(self) -> None:
        cancelled: list[object] = []
        self.client.react = lambda beat: Deferred(cancelled.append)
        self.heartbeat.startService()
        self.heartbeat.stopService()
        self.pass_time(3 * INTERVAL)
        self.assertEqual((len(cancelled), len(self.client.posts)), (1, 1))
        self.assertEqual(self.heartbeat.record, HeartbeatRecord())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_between_two_tries(self) -> None:
        self.client.react = lambda beat: ConnectionRefusedError()
        self.heartbeat.startService()
        self.heartbeat.stopService()
        self.pass_time(3 * INTERVAL)
        self.assertEqual(len(self.client.posts), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_a_service_that_did_not_start(self) -> None:
        self.heartbeat.stopService()
        self.assertEqual(self.client.posts, [])

    def test_a_fault_does_not_end_them(self) -> None:
        def fault(version: str) -> None:
            raise RuntimeError("a fault")

        self.heartbeat = self.make_heartbeat(INTERVAL, fault)
        self.client.react = lambda beat: responds({"package_version": "v2"})
        self.heartbeat.startService()
        self.pass_time(INTERVAL)
        self.assertEqual(len(self.client.posts), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)


class ReportNowTests(HeartbeatTestCase):
    def test_reports_at_once_and_then_one_interval_later(self) -> None:
        self.heartbeat.startService()
        self.pass_time(4)
        self.heartbeat.report_now()
        self.assertEqual(len(self.client.posts), 2)
        self.pass_time(INTERVAL - 0.5)
        self.assertEqual(len(self.client.posts), 2)
        self.pass_time(0.5)
        self.assertEqual(len(self.client.posts), 3)

    def test_not_while_one_is_under_way(self) -> None:
        self.client.react = lambda beat: Deferred()
        self.heartbeat.startService()
        self.heartbeat.report_now()
        self.assertEqual(len(self.client.posts), 1)

    def test_not_before_the_start_nor_after_the_stop(self) -> None:
        self.heartbeat.report_now()
        self.heartbeat.startService()
        self.heartbeat.stopService()
        self.heartbeat.report_now()
        self.assertEqual(len(self.client.posts), 1)


class WithoutAddressTests(HeartbeatTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.identity.server = ServerAddress()

    def test_none_without_an_address_and_then_some(self) -> None:
        self.heartbeat.startService()
        self.pass_time(2 * INTERVAL)
        self.assertEqual(self.client.posts, [])
        self.identity.server = ServerAddress("10.0.0.1", 18202)
        self.pass_time(INTERVAL)
        self.assertEqual(len(self.client.posts), 1)

    def test_none_without_a_node_id(self) -> None:
        self.identity.server = ServerAddress("10.0.0.1", 18202)
        self.identity.node_id = ""
        with capturedLogs() as events:
            self.heartbeat.startService()
            self.pass_time(3 * INTERVAL)
        self.assertEqual(self.client.posts, [])
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [
                (
                    LogLevel.warn,
                    "no node id: heartbeats are skipped until SCF_FUNCTIONNAME or system.node_id is set",
                )
            ],
        )


class RetryTests(HeartbeatTestCase):
    def times_of_tries(self, react: Any, seconds: float, interval: float = 100.0) -> list[float]:
        """When the tries of a heartbeat were made, in seconds since its start."""
        began, times = self.clock.seconds(), []

        def note(beat: Any) -> Any:
            times.append(self.clock.seconds() - began)
            return react(beat)

        self.client.react = note
        self.heartbeat = self.make_heartbeat(interval)
        self.heartbeat.startService()
        self.pass_time(seconds)
        self.heartbeat.stopService()
        return times

    def test_five_tries_with_doubled_pauses(self) -> None:
        self.assertEqual(
            self.times_of_tries(lambda beat: ConnectionRefusedError(), seconds=99), [0, 1, 3, 7, 15]
        )
        self.assertEqual((self.heartbeat.record.error_count, self.counted("failed")), (1, 1))

    def test_no_pause_leads_past_the_next_heartbeat(self) -> None:
        self.assertEqual(
            self.times_of_tries(lambda beat: ConnectionRefusedError(), seconds=12, interval=9),
            [0, 1, 3, 7, 9, 10, 12],
        )

    def test_a_short_interval_leaves_one_try(self) -> None:
        self.assertEqual(
            self.times_of_tries(lambda beat: ConnectionRefusedError(), seconds=2, interval=1), [0, 1, 2]
        )

    def test_tries_do_not_overlap(self) -> None:
        """Each try runs into its time limit; of two tries the later begins when the earlier has ended."""
        under_way = most = 0

        def react(beat: Any) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            pending: Deferred[ServerResponse] = Deferred()
            return pending.addTimeout(5.0, self.clock).addBoth(ended)

        def ended(result: Any) -> Any:
            nonlocal under_way
            under_way -= 1
            return result

        self.times_of_tries(react, seconds=100, interval=9)
        self.assertEqual(most, 1)
        self.assertGreater(self.heartbeat.record.error_count, 3)

    def test_another_http_status_is_tried_again(self) -> None:
        for status in (201, 204, 302, 400, 404, 500, 503):
            with self.subTest(status=status):
                times = self.times_of_tries(
                    lambda beat, s=status: ServerResponse(s, b'{"code": 200}'), seconds=1
                )
                self.assertEqual(times, [0, 1])

    def test_what_is_no_acceptance_is_not_tried_again(self) -> None:
        for body in (b"", b"<html>", b"[]", b'{"code": 500, "message": "no"}', b'{"code": 200, "data": 1}'):
            with self.subTest(body=body):
                self.assertEqual(
                    self.times_of_tries(lambda beat, b=body: ServerResponse(200, b), seconds=50), [0]
                )
                self.assertEqual(self.heartbeat.record.error_count, 1)

    def test_success_after_a_failure_counts_once(self) -> None:
        outcomes = [fail(ConnectionRefusedError()), responds()]
        self.assertEqual(self.times_of_tries(lambda beat: outcomes.pop(0), seconds=50), [0, 1])
        record = self.heartbeat.record
        self.assertEqual((record.report_count, record.error_count), (1, 0))

    def test_a_try_goes_to_the_address_of_its_moment(self) -> None:
        def react(beat: Any) -> Any:
            self.identity.server = ServerAddress("10.0.0.2", 1)
            return ConnectionRefusedError()

        self.times_of_tries(react, seconds=1)
        self.assertTrue(self.client.posts[1][0].startswith("http://10.0.0.2:1/"))


class AcceptedTests(HeartbeatTestCase):
    def beat(self, *data: Any, **fields: Any) -> None:
        self.client.react = lambda sent: responds(*data, **fields)
        self.heartbeat.startService()
        self.heartbeat.stopService()

    def test_is_recorded(self) -> None:
        self.beat()
        accepted = HeartbeatRecord(1_800_000_000, 1, 0, self.identity.server.base_url)
        self.assertEqual(self.heartbeat.record, accepted)
        self.assertEqual(self.counted("accepted"), 1)
        self.assertEqual(self.reasons(), [])

    def test_tasks_replace_those_there_were(self) -> None:
        self.task_store.replace(tasks("old"))
        self.beat({"task_instances": [*tasks("a", "b"), {"id": 9}], "tasks_md5": "x"})
        self.assertEqual(self.task_ids(), ["a", "b"])

    def test_a_long_list_is_read_in_a_thread(self) -> None:
        reading: Deferred[TaskSnapshot | None] = Deferred()
        self.patch(heartbeat, "in_thread", lambda reactor, *work: reading)
        self.clock.getThreadPool = lambda: None  # type: ignore[attr-defined]
        entries = tasks(*(f"t{number}" for number in range(LONG_LIST + 1)))
        self.client.react = lambda sent: responds({"task_instances": entries})
        self.heartbeat.startService()
        self.assertEqual(self.task_ids(), [])
        reading.callback(read_tasks(entries))
        self.assertEqual(len(self.task_ids()), LONG_LIST + 1)
        self.heartbeat.stopService()

    def test_tasks_stay_where_the_response_says_nothing(self) -> None:
        entries: list[Any] = [
            {},
            None,
            {"task_instances": []},
            {"task_instances": None, "tasks_md5": "empty"},
            {"task_instances": tasks("new"), "tasks_md5": "initializing"},
        ]
        for entry in entries:
            with self.subTest(entry=entry):
                self.task_store.replace(tasks("old"))
                self.beat(entry)
                self.assertEqual(self.task_ids(), ["old"])

    def test_rows_that_were_made_anew(self) -> None:
        """The same tasks with other row ids have the same digest; plugins get the present rows."""
        self.beat({"task_instances": tasks("a", "b"), "tasks_md5": "x"})
        before = self.task_store.current_md5()
        anew = [{**task, "id": task["id"] + 100} for task in tasks("a", "b")]
        self.beat({"task_instances": anew, "tasks_md5": "x"})
        self.assertEqual(self.task_store.current_md5(), before)
        self.assertEqual([task["id"] for task in self.task_store.get_all()], [100, 101])

    def test_tasks_stay_where_nothing_was_accepted(self) -> None:
        self.task_store.replace(tasks("old"))
        self.beat({"task_instances": tasks("new")}, code=500)
        self.assertEqual(self.task_ids(), ["old"])

    def test_an_authoritative_empty_list_clears(self) -> None:
        self.task_store.replace(tasks("old"))
        self.beat({"task_instances": [], "tasks_md5": "empty"})
        self.assertEqual(self.task_ids(), [])

    def test_the_same_version_is_fine(self) -> None:
        self.beat({"package_version": "v1.0.0"})
        self.beat({"package_version": ""})
        self.assertEqual(self.wanted, [])

    def test_another_version_is_told_once_the_tasks_are_stored(self) -> None:
        stored: list[list[str]] = []
        self.heartbeat = self.make_heartbeat(
            INTERVAL, lambda version: stored.append([version, *self.task_ids()])
        )
        self.beat({"package_version": "v2", "task_instances": tasks("a")})
        self.assertEqual(stored, [["v2", "a"]])


class VersionLogTests(HeartbeatTestCase):
    def test_another_version_is_said_once(self) -> None:
        self.heartbeat = self.make_heartbeat(INTERVAL, VersionLog("v1.0.0"))
        self.client.react = lambda beat: responds({"package_version": "v2"})
        with capturedLogs() as events:
            self.heartbeat.startService()
            self.pass_time(3 * INTERVAL)
            self.heartbeat.stopService()
        warnings = [formatEvent(event) for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(
            warnings,
            [
                "version v2 should be running, this is v1.0.0; the node stays"
                " (heartbeat.on_version_mismatch: log)"
            ],
        )

    def test_operators_are_told_until_the_version_is_right(self) -> None:
        wanted = "v2"
        self.client.react = lambda beat: responds({"package_version": wanted})
        self.heartbeat.startService()
        (warning,) = self.readiness.all()
        self.assertEqual((warning.component, warning.severity), ("version", "warning"))
        self.assertEqual(warning.reason, "version v2 should be running, this is v1.0.0")
        self.assertIn("deploy v2", warning.advice)
        wanted = "v1.0.0"
        self.pass_time(INTERVAL)
        self.assertEqual(self.readiness.all(), [])
        self.heartbeat.stopService()


class Generation3Tests(SynchronousTestCase):
    def read(self, value: Any, status: int = 200) -> Orders:
        response = ServerResponse(status, json.dumps(value).encode())
        return read_response(Exchange(3, 3, response, decoded(response), True))

    def accepted(self, **fields: Any) -> Orders:
        return self.read({"ret_info": {"code": 0, "msg": ""}, **fields})

    def test_what_it_orders(self) -> None:
        self.assertEqual(self.accepted(package_version="v2"), Orders(None, "v2"))
        self.assertEqual(self.accepted(tasks_md5="initializing", task_instances=[]), Orders())
        self.assertEqual(self.accepted(tasks_md5="empty", task_instances=[]), Orders([]))
        self.assertEqual(self.accepted(tasks_md5="", package_version=""), Orders())
        tasks = self.accepted(task_instances=[{"task_id": "a", "is_deleted": "true"}]).tasks
        self.assertEqual(tasks, [{"task_id": "a", "is_deleted": "true", "invalid": 1}])

    def test_a_node_that_the_server_does_not_know(self) -> None:
        value = {"ret_info": {"code": 4, "msg": "x"}, "tasks_md5": "", "package_version": ""}
        self.assertEqual(str(self.assertRaises(RefusedError, self.read, value)), "code 4: x")

    def test_which_errors_are_tried_again(self) -> None:
        for code, error in ((1, RefusedError), (12, RefusedError), (141, RetryError), (999, RetryError)):
            self.assertRaises(error, self.read, {"ret_info": {"code": code, "msg": ""}})

    def test_a_wrong_signature_says_what_to_set(self) -> None:
        error = self.assertRaises(RetryError, self.read, "service auth failed", 401)
        self.assertIn("heartbeat.auth", str(error))

    def test_another_shape(self) -> None:
        self.assertRaises(RefusedError, self.read, {"code": 200})


class LogTests(HeartbeatTestCase):
    def lines(self, *outcomes: Any) -> list[tuple[LogLevel, str]]:
        """What the log says when heartbeats end like this, one after the other."""
        left = list(outcomes)
        self.client.react = lambda beat: left.pop(0)
        with capturedLogs() as events:
            self.heartbeat.startService()
            self.pass_time(INTERVAL * (len(outcomes) - 1))
            self.heartbeat.stopService()
        return [(event["log_level"], formatEvent(event)) for event in events]

    def test_only_a_change_is_logged(self) -> None:
        refused = ServerResponse(200, b'{"code": 500, "message": "node unknown"}')
        self.assertEqual(
            self.lines(responds(), responds(), refused, refused, responds(), responds()),
            [
                (LogLevel.info, f"accepted by {SERVER}"),
                (LogLevel.warn, f"not accepted by {SERVER}: code 500: node unknown"),
                (LogLevel.info, f"accepted by {SERVER}"),
            ],
        )

    def test_a_failure_is_a_problem_until_the_next_success(self) -> None:
        self.lines(ServerResponse(200, b"{}"))
        self.assertEqual(
            self.reasons(),
            [f"no heartbeat accepted by {SERVER}: the response is not an object with a code"],
        )
        self.lines(responds())
        self.assertEqual(self.reasons(), [])


class OverARealAgentTests(HeartbeatTestCase):
    """The agent wraps what a cancellation does into errors of its own, which must not look like failures."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Peer()
        self.clock = self.server.reactor
        self.client = ControlPlaneClient(self.server.http(), self.clock)
        self.heartbeat = self.make_heartbeat(INTERVAL)

    def test_stopping_while_a_try_is_under_way(self) -> None:
        for accept in (False, True):
            with self.subTest(accept=accept):
                before = self.server.connections()
                self.heartbeat.startService()
                if accept:
                    self.server.accept()
                self.heartbeat.stopService()
                self.pass_time(3 * INTERVAL)
                self.assertEqual(self.server.connections(), before + 1)
                self.assertEqual(self.heartbeat.record, HeartbeatRecord())
                self.server = Peer()
                self.clock = self.server.reactor
                self.client = ControlPlaneClient(self.server.http(), self.clock)
                self.heartbeat = self.make_heartbeat(INTERVAL)

    def test_a_server_that_does_not_respond(self) -> None:
        self.heartbeat = self.make_heartbeat(5)
        self.heartbeat.startService()
        self.server.accept()
        with capturedLogs() as events:
            self.pass_time(5.5)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"not accepted by {SERVER}: TimeoutError: no response after 5 s"],
        )
