"""Tests for scfd.adapter.http: a real HTTP client, the plugin in the test's hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, strategies
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter.http import HttpAdapter, parse_response
from scfd.adapter.process import PluginProcess
from scfd.availability import Availability
from scfd.config import HttpAdapter as Settings
from scfd.errors import PluginError, StartupError
from scfd.model import TaskResult, TriggerEvent, TriggerResponse
from scfd.readiness import Readiness
from tests.http_fakes import Peer

URL = "http://127.0.0.1:9001"
EVENT = TriggerEvent(
    "nats", "my-queue", {"price": 1.5}, {"nodeID": "node-abc", "version": "v1", "subject": "s.a"}
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class ParseResponseTests(SynchronousTestCase):
    def test_the_documented_response(self) -> None:
        body = (
            b'{"task_results": [{"task_id": "task-001", "status": 2, "result": ""},'
            b'{"task_id": "task-002", "status": 4, "result": "why it failed"}], "new": 1}'
        )
        expected = (TaskResult("task-001", 2), TaskResult("task-002", 4, "why it failed"))
        self.assertEqual(parse_response(body), (TriggerResponse(expected), ""))

    def test_without_results(self) -> None:
        for body in (b"{}", b'{"task_results": []}', b'{"task_results": null}', b'{"other": 1}'):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), (TriggerResponse(), ""))

    def test_odd_bodies_are_no_results(self) -> None:
        for body, oddity in (
            (b"", "the body is empty"),
            (b" \r\n", "the body is empty"),
            (b"[]", "the body is not a JSON object"),
            (b"null", "the body is not a JSON object"),
            (b'{"task_results": {}}', "task_results is not a list"),
            (b'{"task_results": "x"}', "task_results is not a list"),
        ):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), (TriggerResponse(), oddity))

    def test_what_is_no_json(self) -> None:
        for body in (b"OK", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'):
            with self.subTest(body=body[:10]):
                response, oddity = parse_response(body)
                self.assertEqual(response, TriggerResponse())
                self.assertTrue(oddity.startswith("the body is not JSON: "), oddity)

    def test_results_that_can_be_used_and_others(self) -> None:
        for entry, usable in (
            ({"task_id": "a", "status": 2}, True),
            ({"task_id": "a", "status": 2.0}, True),
            ({"task_id": "a", "status": 0, "result": None}, True),
            ({"task_id": "a", "status": 99, "unknown": 1}, True),
            ({"task_id": "", "status": 2}, False),
            ({"task_id": None, "status": 2}, False),
            ({"task_id": 7, "status": 2}, False),
            ({"status": 2}, False),
            ({"task_id": "a"}, False),
            ({"task_id": "a", "status": None}, False),
            ({"task_id": "a", "status": "2"}, False),
            ({"task_id": "a", "status": 2.5}, False),
            ({"task_id": "a", "status": True}, False),
            ("a", False),
            (None, False),
        ):
            with self.subTest(entry=entry):
                response, oddity = parse_response(json.dumps({"task_results": [entry]}).encode())
                (result,) = response.task_results
                self.assertEqual((result.is_usable(), oddity), (usable, ""))

    def test_a_bad_result_does_not_spoil_the_others(self) -> None:
        body = b'{"task_results": [{"status": 2}, {"task_id": "a", "status": 2}]}'
        response, _ = parse_response(body)
        self.assertEqual([result.is_usable() for result in response.task_results], [False, True])

    @given(strategies.binary())
    def test_any_bytes(self, body: bytes) -> None:
        self.assert_parsed(body)

    @given(
        strategies.recursive(
            strategies.none()
            | strategies.booleans()
            | strategies.integers()
            | strategies.floats(allow_nan=False, allow_infinity=False)
            | strategies.text(),
            lambda inner: (
                strategies.lists(inner, max_size=3)
                | strategies.dictionaries(
                    strategies.sampled_from(["task_results", "task_id", "status", "result"]), inner
                )
            ),
        )
    )
    def test_any_json(self, value: Any) -> None:
        self.assert_parsed(json.dumps(value).encode())
        self.assert_parsed(json.dumps({"task_results": [value]}).encode())

    def assert_parsed(self, body: bytes) -> None:
        response, _ = parse_response(body)
        for result in response.task_results:
            self.assertIsInstance(result.is_usable(), bool)


class FakeProcess:
    """
    A `PluginProcess` that runs nothing.

    :ivar journal: what was done to it.
    """

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.end = ""
        self.stopping: Deferred[None] = Deferred()

    def start(self, on_end: Callable[[str], None]) -> None:
        self.journal.append("start")
        self._on_end = on_end

    def ends(self, how: str) -> None:
        self.end = how
        self._on_end(how)

    def stop(self) -> Deferred[None]:
        self.journal.append("stop")
        return self.stopping


class HttpAdapterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.plugin = Peer()
        self.clock = self.plugin.reactor
        self.readiness = Readiness(self.clock.seconds)
        self.availability = Availability()
        self.process = FakeProcess()
        self.adapter = self.make_adapter()

    def make_adapter(self, **settings: Any) -> HttpAdapter:
        chosen = Settings(**{"name": "my-plugin", "url": URL, "ready_timeout": 3.0, **settings})
        return HttpAdapter(
            chosen,
            self.plugin.http(),
            cast(PluginProcess, self.process),
            self.readiness,
            self.availability,
            self.clock,
        )

    def look(self, answer: bytes | Exception) -> bytes:
        """Answer the next request; returns the request."""
        if isinstance(answer, Exception):
            self.plugin.refuse(answer)
            return b""
        request: bytes = self.plugin.accept().value()
        self.plugin.send(answer)
        return request

    def looks(self) -> int:
        return self.plugin.connections()


class StartTests(HttpAdapterTestCase):
    def test_ready_at_the_first_look(self) -> None:
        started = self.adapter.startService()
        request = self.look(OK)
        self.assertTrue(request.startswith(b"GET /health HTTP/1.1\r\n"), request)
        self.successResultOf(started)
        self.assertEqual(self.adapter.plugin_name, "my-plugin")

    def test_looks_again_until_it_is_ready(self) -> None:
        started = self.adapter.startService()
        for answer in (
            ConnectionRefusedError(),
            b"HTTP/1.1 503 Starting\r\nContent-Length: 8\r\n\r\nstarting",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        ):
            self.look(answer)
            self.assertNoResult(started)
            self.clock.advance(0.2)
        self.look(OK)
        self.successResultOf(started)
        self.assertEqual(self.looks(), 5)

    def test_looks_often_at_first_and_then_every_second(self) -> None:
        self.adapter = self.make_adapter(ready_timeout=30.0)
        self.adapter.startService()
        pauses: list[float] = []
        for _ in range(9):
            self.look(ConnectionRefusedError())
            (pause,) = (call.getTime() - self.clock.seconds() for call in self.clock.getDelayedCalls())
            pauses.append(round(pause, 2))
            self.clock.advance(pause)
        self.assertEqual(pauses, [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1])

    def mistake(self, answer: bytes | Exception | None) -> str:
        """The end of a start in which each look gets the same answer, or none."""
        started = self.adapter.startService()
        for _ in range(600):
            if answer is not None and self.looks() > self.plugin.taken:
                self.look(answer)
            self.clock.advance(0.01)
        while answer is None and not started.called:
            self.clock.advance(0.1)
        return str(self.failureResultOf(started, StartupError).value)

    def test_never_ready(self) -> None:
        head = f"adapter.http: plugin 'my-plugin' at {URL} is not ready after 3 s; GET /health last got: "
        for answer, last in (
            (b"HTTP/1.1 503 Starting\r\nContent-Length: 0\r\n\r\n", "HTTP status 503"),
            (None, "no answer after 5 s"),
            (
                ConnectionRefusedError("nobody there"),
                "ConnectionRefusedError: Connection was refused by other side: nobody there.",
            ),
        ):
            with self.subTest(answer=answer):
                self.setUp()
                self.assertEqual(self.mistake(answer), head + last)

    def test_a_process_that_ended_is_named(self) -> None:
        started = self.adapter.startService()
        self.look(ConnectionRefusedError())
        self.process.ends("exit status 2")
        while not started.called:
            while self.looks() > self.plugin.taken:
                self.look(ConnectionRefusedError())
            self.clock.advance(0.01)
        error = str(self.failureResultOf(started, StartupError).value)
        self.assertTrue(error.endswith("; its process ended: exit status 2"), error)

    def test_a_node_that_is_asked_to_stop_meanwhile(self) -> None:
        for step in ("connecting", "connected", "pausing"):
            with self.subTest(step=step):
                self.setUp()
                started = self.adapter.startService()
                if step == "connected":
                    self.plugin.accept()
                elif step == "pausing":
                    self.look(ConnectionRefusedError())
                started.cancel()
                self.failureResultOf(started, CancelledError)
                self.clock.pump([0.1] * 100)
                self.assertEqual(self.looks(), 1)

    def test_the_process_is_started_first_and_stopped(self) -> None:
        self.adapter.startService()
        self.assertEqual(self.process.journal, ["start"])
        stopped = self.adapter.stopService()
        self.assertEqual(self.process.journal, ["start", "stop"])
        self.assertNoResult(stopped)
        self.process.stopping.callback(None)
        self.successResultOf(stopped)

    def test_a_plugin_that_somebody_else_runs(self) -> None:
        adapter = HttpAdapter(
            Settings(url=URL), self.plugin.http(), None, self.readiness, self.availability, self.clock
        )
        started = adapter.startService()
        self.look(OK)
        self.successResultOf(started)
        self.successResultOf(adapter.stopService())


class ProcessEndsTests(HttpAdapterTestCase):
    def setUp(self) -> None:
        super().setUp()
        started = self.adapter.startService()
        self.look(OK)
        self.successResultOf(started)

    def reasons(self) -> list[str]:
        return [f"{problem.component}: {problem.reason}" for problem in self.readiness.problems()]

    def test_is_a_problem_until_it_is_ready_again(self) -> None:
        self.process.ends("exit status 1")
        self.assertEqual(self.reasons(), ["plugin: its process ended: exit status 1"])
        self.look(ConnectionRefusedError())
        self.clock.advance(1)
        self.assertEqual(len(self.reasons()), 1)
        self.look(OK)
        self.assertEqual(self.reasons(), [])

    def test_triggers_hear_that_it_can_take_no_events(self) -> None:
        heard: list[bool] = []
        self.availability.watch(heard.append)
        self.process.ends("exit status 1")
        self.look(ConnectionRefusedError())
        self.clock.advance(1)
        self.look(OK)
        self.assertEqual(heard, [False, True])

    def test_a_second_end_does_not_double_the_looks(self) -> None:
        self.process.ends("exit status 1")
        self.process.ends("killed by signal 9")
        self.assertEqual(self.reasons(), ["plugin: its process ended: killed by signal 9"])
        self.assertEqual(self.looks(), 2)

    def test_the_node_does_not_end_however_long_it_takes(self) -> None:
        self.process.ends("exit status 1")
        for _ in range(100):
            self.look(ConnectionRefusedError())
            self.clock.advance(1)
        self.assertEqual(len(self.reasons()), 1)
        self.look(OK)
        self.assertEqual(self.reasons(), [])

    def test_stopping_ends_the_looks(self) -> None:
        self.process.ends("exit status 1")
        self.adapter.stopService()
        self.clock.pump([1] * 20)
        self.assertEqual(self.looks(), 2)
        self.assertEqual(self.flushLoggedErrors(), [])


class OnTriggerTests(HttpAdapterTestCase):
    def call(self, status: int, body: bytes) -> Deferred[TriggerResponse]:
        called = self.adapter.on_trigger(EVENT)
        self.look(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        return called

    def failure(self, called: Deferred[TriggerResponse]) -> str:
        return str(self.failureResultOf(called, PluginError).value)

    def test_posts_the_event(self) -> None:
        self.adapter.on_trigger(EVENT)
        head, _, body = self.plugin.accept().value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /on-trigger HTTP/1.1\r\n"), head)
        self.assertIn(b"\r\nContent-Type: application/json", head)
        self.assertEqual(body, EVENT.to_json())

    def test_a_base_url_may_have_a_path(self) -> None:
        self.make_adapter(url=f"{URL}/base").on_trigger(EVENT)
        self.assertTrue(self.plugin.accept().value().startswith(b"POST /base/on-trigger "))

    def test_a_response(self) -> None:
        called = self.call(200, b'{"task_results": [{"task_id": "a", "status": 2}]}')
        self.assertEqual(self.successResultOf(called), TriggerResponse((TaskResult("a", 2),)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_odd_body_is_success_without_results_and_is_warned_of(self) -> None:
        for body, oddity in ((b"", "the body is empty"), (b"[]", "the body is not a JSON object")):
            with self.subTest(body=body), capturedLogs() as events:
                self.assertEqual(self.successResultOf(self.call(200, body)), TriggerResponse())
                self.assertEqual(
                    [(event["log_level"], formatEvent(event)) for event in events],
                    [(LogLevel.warn, f"my-queue: no task results from the plugin: {oddity}")],
                )

    def test_no_results_are_not_odd(self) -> None:
        with capturedLogs() as events:
            self.successResultOf(self.call(200, b"{}"))
        self.assertEqual(events, [])

    def test_another_status_is_a_failure(self) -> None:
        for status in (201, 302, 400, 404, 500, 503):
            with self.subTest(status=status):
                self.assertEqual(
                    self.failure(self.call(status, b"why")), f"POST /on-trigger: HTTP status {status}: why"
                )

    def test_a_long_body_is_cut(self) -> None:
        self.assertEqual(
            self.failure(self.call(500, b"\xff" * 1000)),
            "POST /on-trigger: HTTP status 500: " + "\ufffd" * 200,
        )

    def test_no_connection(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.refuse(ConnectionRefusedError())
        self.assertTrue(self.failure(called).startswith("POST /on-trigger: ConnectionRefusedError"))

    def test_a_connection_that_breaks(self) -> None:
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"):
            with self.subTest(answer=answer):
                called = self.adapter.on_trigger(EVENT)
                self.look(answer)
                self.plugin.close(ConnectionLost())
                self.assertEqual(
                    self.failure(called),
                    "POST /on-trigger: ConnectionLost: "
                    "Connection to the other side was lost in a non-clean fashion.",
                )

    def test_a_timeout(self) -> None:
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"):
            with self.subTest(answer=answer):
                self.adapter = self.make_adapter(timeout=2.5)
                called = self.adapter.on_trigger(EVENT)
                self.look(answer)
                self.clock.advance(2.4)
                self.assertNoResult(called)
                self.clock.advance(0.2)
                self.assertEqual(self.failure(called), "POST /on-trigger: no answer after 2.5 s")
                wire = self.plugin.accepted
                self.assertTrue(wire.disconnected or wire.disconnecting, "the plugin works on")

    def test_cancelling(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        wire = self.plugin.accept()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertTrue(wire.disconnected)


class OtherPartsTests(HttpAdapterTestCase):
    def test_heartbeat_extra_is_that_of_the_config(self) -> None:
        adapter = self.make_adapter(heartbeat_extra={"capabilities": ["kline"]})
        extra = adapter.heartbeat_extra()
        self.assertEqual(extra, {"capabilities": ["kline"]})
        extra["more"] = 1
        self.assertEqual(adapter.heartbeat_extra(), {"capabilities": ["kline"]})

    def test_serves_nothing_in_this_process(self) -> None:
        self.assertIsNone(self.adapter.web_resource())
