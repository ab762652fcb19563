"""Tests for scfd.adapter.http and scfd.adapter.health: the plugin in the test's hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter import http
from scfd.adapter.calls import PluginClient, RequestError
from scfd.adapter.health import CHECK_TIMEOUT
from scfd.adapter.http import REFUSED_LIMIT, HttpAdapter
from scfd.adapter.process import PluginProcess
from scfd.config import HttpAdapterSettings
from scfd.errors import PluginError, PluginUnavailableError, StartupError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.long_json import LONG
from scfd.events.work import Message, Task
from scfd.http1.pool import Pool
from scfd.http1.turn import Turn
from scfd.status.context import Context
from tests.http1_fakes import AT_ONCE, FakeConnector, FakeTransport

URL = "http://127.0.0.1:9001"
EVENT = TriggerEvent(
    "nats",
    "my-queue",
    {"price": 1.5},
    {"nodeID": "node-abc", "version": "v1", "subject": "s.a", "traceparent": "00-ab-cd-01"},
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
UNWELL = b"HTTP/1.1 503 No Database\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSED = ConnectionRefusedError(111, "Connection refused")


def response(transport: FakeTransport, data: bytes) -> None:
    """Send a response, and let asyncio tell of the connection's end where it is one."""
    transport.receive(data)
    settle(transport)


def settle(transport: FakeTransport) -> None:
    if transport.ended:
        transport.protocol.connection_lost(None)


class FakeProcess:
    """
    A `PluginProcess` that runs nothing.

    :ivar journal: what was done to it.
    """

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.end = self.cannot_run = ""
        self.stopping: Deferred[None] = Deferred()

    def start(self, on_start: Callable[[], object], on_end: Callable[[str], object]) -> None:
        self.journal.append("start")
        self._on_end = on_end
        self.starts = on_start
        on_start()

    def ends(self, how: str) -> None:
        self.end = how
        self._on_end(how)

    def restart(self, why: str) -> None:
        self.journal.append(f"restart: {why}")

    def stop(self) -> Deferred[None]:
        self.journal.append("stop")
        return self.stopping


class HttpAdapterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.plugin, self.health = FakeConnector(), FakeConnector()
        self.context = Context(self.clock, self.clock.seconds)
        self.readiness, self.availability = self.context.readiness, self.context.availability
        self.metrics = self.context.metrics
        self.process = FakeProcess()
        self.adapter = self.make_adapter()

    def make_adapter(self, process: bool = True, **settings: Any) -> HttpAdapter:
        chosen = HttpAdapterSettings(**{"name": "my-plugin", "url": URL, "ready_timeout": 3.0, **settings})
        pool, health_pool = (
            Pool(server, 2, 1.5, 5.0, self.clock, AT_ONCE) for server in (self.plugin, self.health)
        )
        return HttpAdapter(
            chosen,
            PluginClient(URL, pool, health_pool, chosen.max_response, self.clock),
            cast(PluginProcess, self.process) if process else None,
            self.context,
        )

    def look(self, given: bytes | Exception | None) -> None:
        """Response the look at its health that is under way; None is silence."""
        if isinstance(given, Exception):
            self.health.refuse(given)
        elif given is None:
            transport = self.health.accept()
            self.clock.advance(CHECK_TIMEOUT)
            settle(transport)
        else:
            response(self.health.accept(), given)

    def looking(self) -> bool:
        return bool(self.health.attempts)

    def problems(self) -> list[str]:
        return [f"{problem.component}: {problem.reason}" for problem in self.readiness.problems()]

    def start(self) -> None:
        started = self.adapter.startService()
        self.look(OK)
        self.successResultOf(started)


class StartTests(HttpAdapterTestCase):
    def test_ready_at_the_first_look(self) -> None:
        started = self.adapter.startService()
        self.assertFalse(self.availability.available)
        self.look(OK)
        self.successResultOf(started)
        self.assertTrue(self.availability.available)
        self.assertEqual(self.adapter.plugin_name, "my-plugin")

    def test_looks_again_until_it_is_ready(self) -> None:
        started = self.adapter.startService()
        for response in (
            REFUSED,
            b"HTTP/1.1 503 Starting\r\nConnection: close\r\nContent-Length: 8\r\n\r\nstarting",
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        ):
            self.look(response)
            self.assertNoResult(started)
            self.clock.advance(0.2)
        self.look(OK)
        self.successResultOf(started)

    def test_looks_often_at_first_and_then_every_second(self) -> None:
        self.adapter = self.make_adapter(ready_timeout=30.0)
        self.adapter.startService()
        (limit,) = [call for call in self.clock.getDelayedCalls() if call.getTime() == 30.0]
        pauses: list[float] = []
        for _ in range(9):
            self.look(REFUSED)
            (call,) = (call for call in self.clock.getDelayedCalls() if call is not limit)
            pauses.append(round(call.getTime() - self.clock.seconds(), 2))
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1])

    def never_ready(self, response: bytes | Exception | None) -> str:
        """The end of a start in which each look gets the same response, or none."""
        started = self.adapter.startService()
        while not started.called:
            if response is not None and self.looking():
                self.look(response)
            self.clock.advance(0.01)
        return str(self.failureResultOf(started, StartupError).value)

    def test_never_ready(self) -> None:
        head = f"adapter.http: plugin 'my-plugin' at {URL} is not ready after 3 s; GET /health last got: "
        for response, last in (
            (UNWELL, "HTTP status 503"),
            (None, "nothing yet"),
            (REFUSED, "can't connect: Connection refused"),
        ):
            with self.subTest(response=response):
                self.setUp()
                self.assertEqual(self.never_ready(response), head + last)

    def test_a_process_that_ended_is_named(self) -> None:
        started = self.adapter.startService()
        self.look(REFUSED)
        self.process.ends("its process ended: exit status 2")
        self.clock.advance(3)
        error = str(self.failureResultOf(started, StartupError).value)
        self.assertTrue(error.endswith("; its process ended: exit status 2"), error)

    def test_a_command_that_can_not_run_is_told_at_once(self) -> None:
        started = self.adapter.startService()
        self.process.cannot_run = "can't run pyhton: No such file or directory"
        self.process.ends("its process ended: exit status 127")
        self.assertEqual(
            str(self.failureResultOf(started, StartupError).value),
            "adapter.http.command: can't run pyhton: No such file or directory; "
            "expected a program on PATH, or the path of one",
        )
        self.assertEqual(self.process.journal, ["start", "stop"])

    def test_later_it_is_tried_again_like_any_other(self) -> None:
        """Somebody may be installing another version of it."""
        self.start()
        self.process.cannot_run = "can't run x: No such file or directory"
        self.process.ends("its process ended: exit status 127")
        self.assertEqual(self.problems(), ["plugin: its process ended: exit status 127"])

    def test_a_node_that_is_asked_to_stop_meanwhile(self) -> None:
        for step in ("connecting", "connected", "pausing"):
            with self.subTest(step=step):
                self.setUp()
                started = self.adapter.startService()
                if step == "connected":
                    self.health.accept()
                elif step == "pausing":
                    self.look(REFUSED)
                started.cancel()
                self.adapter.stopService()
                self.failureResultOf(started, CancelledError)
                self.clock.pump([0.1] * 100)
                self.assertFalse(self.looking() and step != "connecting")
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_process_is_started_first_and_stopped(self) -> None:
        self.adapter.startService()
        self.assertEqual(self.process.journal, ["start"])
        stopped = self.adapter.stopService()
        self.assertEqual(self.process.journal, ["start", "stop"])
        self.assertNoResult(stopped)
        self.process.stopping.callback(None)
        self.successResultOf(stopped)

    def test_a_plugin_that_somebody_else_runs(self) -> None:
        self.adapter = self.make_adapter(process=False)
        self.start()
        self.successResultOf(self.adapter.stopService())


class ProcessEndsTests(HttpAdapterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_is_a_problem_until_it_is_ready_again(self) -> None:
        heard: list[bool] = []
        self.availability.watch(heard.append)
        self.process.ends("its process ended: exit status 1")
        self.assertEqual((self.problems(), heard), (["plugin: its process ended: exit status 1"], [False]))
        self.clock.advance(10)
        self.assertFalse(self.looking(), "there is nothing to look at")
        self.process.starts()
        self.look(REFUSED)
        self.clock.advance(0.02)
        self.assertEqual(len(self.problems()), 1)
        self.look(OK)
        self.assertEqual((self.problems(), heard), ([], [False, True]))

    def test_a_second_end_before_it_is_ready(self) -> None:
        self.process.ends("its process ended: exit status 1")
        self.process.starts()
        self.process.ends("its process ended: killed by signal 9")
        self.assertEqual(self.problems(), ["plugin: its process ended: killed by signal 9"])
        self.process.starts()
        self.look(REFUSED)
        self.clock.advance(0.02)
        self.look(OK)
        self.assertEqual(self.problems(), [])

    def test_the_node_does_not_end_however_long_it_takes(self) -> None:
        self.process.ends("its process ended: exit status 1")
        self.process.starts()
        for _ in range(100):
            self.look(UNWELL)
            self.clock.advance(1)
        self.assertEqual((len(self.problems()), self.process.journal), (1, ["start"]))
        self.look(OK)
        self.assertEqual(self.problems(), [])

    def test_one_that_hangs_before_it_is_ready_again_is_started_again(self) -> None:
        self.process.ends("its process ended: exit status 1")
        self.process.starts()
        self.look(UNWELL)
        self.clock.advance(1)
        why = "it has stopped responding: no response after 5 s"
        self.look(None)
        self.assertEqual(self.process.journal, ["start", f"restart: {why}"])
        self.assertEqual(self.problems(), [f"plugin: {why}"])

    def test_stopping_ends_the_looks(self) -> None:
        self.process.ends("its process ended: exit status 1")
        self.process.starts()
        self.health.accept()
        self.adapter.stopService()
        self.clock.pump([1] * 20)
        self.assertFalse(self.looking())
        self.assertEqual(self.flushLoggedErrors(), [])


class HealthTests(HttpAdapterTestCase):
    """What becomes of a plugin that was ready."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def next_look(self, response: bytes | Exception | None, pause: float = 5.0) -> None:
        self.clock.advance(pause - 0.1)
        self.assertFalse(self.looking())
        self.clock.advance(0.2)
        self.look(response)

    def test_one_that_stops_responding_is_started_again(self) -> None:
        self.next_look(None)
        self.next_look(None, 1)
        self.assertEqual((self.problems(), self.availability.available), ([], True))
        self.next_look(None, 1)
        why = "it has stopped responding: no response after 5 s"
        self.assertEqual((self.problems(), self.availability.available), ([f"plugin: {why}"], False))
        self.assertEqual(self.process.journal, ["start", f"restart: {why}"])
        self.clock.pump([1] * 60)
        self.assertFalse(self.looking(), "the next look is at the next process")
        self.process.ends(why)
        self.process.starts()
        self.look(OK)
        self.assertEqual((self.problems(), self.availability.available), ([], True))

    def test_one_that_recovers_in_time(self) -> None:
        for _ in range(5):
            self.next_look(UNWELL)
            self.next_look(None, 1)
            self.next_look(OK, 1)
        self.assertEqual((self.problems(), self.process.journal), ([], ["start"]))

    def test_one_that_says_it_is_not_well_is_left_alone(self) -> None:
        """It responds: what it waits for, its database say, will not come back sooner for a new start."""
        self.next_look(UNWELL)
        self.next_look(UNWELL, 1)
        self.next_look(UNWELL, 1)
        self.assertEqual(self.problems(), ["plugin: GET /health: HTTP status 503"])
        self.assertEqual((self.process.journal, self.availability.available), (["start"], False))
        self.look(UNWELL)
        self.clock.advance(0.02)
        self.look(OK)
        self.assertEqual((self.problems(), self.availability.available), ([], True))

    def test_one_that_somebody_else_runs_is_watched_as_well(self) -> None:
        self.adapter.stopService()
        self.adapter = self.make_adapter(process=False)
        self.start()
        for pause in (5, 1, 1):
            self.next_look(None, pause)
        self.assertEqual(self.problems(), ["plugin: it has stopped responding: no response after 5 s"])
        self.look(REFUSED)
        self.clock.advance(0.02)
        self.look(OK)
        self.assertEqual(self.problems(), [])

    def test_silence_does_not_count_while_it_is_busy(self) -> None:
        """Such as one that serves one request at a time."""
        event = self.adapter.on_trigger(evolve(EVENT, timeout=100.0))
        transport = self.plugin.accept()
        for _ in range(3):
            self.next_look(None)
        self.assertEqual(self.problems(), [])
        transport.receive(OK)
        self.successResultOf(event)
        for pause in (5, 1, 1):
            self.next_look(None, pause)
        self.assertEqual(len(self.problems()), 1)

    def test_nor_while_it_is_busy_with_the_gateways_callers(self) -> None:
        forwarded = [1, 1, 1, 0, 0, 0]
        self.adapter.also_busy(lambda: forwarded.pop(0))
        for pause in (5, 5, 5, 5, 1):
            self.next_look(None, pause)
        self.assertEqual(self.problems(), [])
        self.next_look(None, 1)
        self.assertEqual(len(self.problems()), 1)

    def test_a_refused_connection_counts_also_while_it_is_busy(self) -> None:
        self.adapter.on_trigger(EVENT)
        self.plugin.accept()
        self.next_look(REFUSED)
        self.assertEqual(len(self.problems()), 1)

    def test_silence_counts_once_an_event_was_lost(self) -> None:
        lost = self.adapter.on_trigger(evolve(EVENT, timeout=1.0))
        self.plugin.accept()
        self.clock.advance(1)
        self.failureResultOf(lost, PluginError)
        self.adapter.on_trigger(EVENT)
        self.plugin.accept()
        self.next_look(None, 4)
        self.next_look(None, 1)
        self.next_look(None, 1)
        self.assertEqual(len(self.problems()), 1)

    def test_without_looks(self) -> None:
        self.adapter.stopService()
        self.adapter = self.make_adapter(health_interval=0.0)
        self.start()
        self.clock.pump([60] * 60)
        self.assertFalse(self.looking())

    def test_each_failed_look_is_told(self) -> None:
        with capturedLogs() as events:
            self.next_look(UNWELL)
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in events],
            [(LogLevel.warn, "GET /health: HTTP status 503 (1 of 3 in a row)")],
        )


class UnreachableTests(HttpAdapterTestCase):
    """Nothing listens at the plugin's address: triggers wait, whoever runs it."""

    WHY = "plugin: it can't be reached: can't connect: Connection refused"

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def refuse_event(self, error: Exception = REFUSED) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.refuse(error)
        self.failureResultOf(called, PluginUnavailableError)

    def look_until(self, seconds: float, given: Exception) -> None:
        """Give the same to each look in some time."""
        for _ in range(round(seconds / 0.02)):
            if self.looking():
                self.look(given)
            self.clock.advance(0.02)

    def test_an_event_that_is_refused_takes_it_down_at_once_and_a_look_brings_it_back(self) -> None:
        for process in (True, False):
            for interval in (5.0, 0.0):
                with self.subTest(process=process, interval=interval):
                    self.adapter.stopService()
                    self.adapter = self.make_adapter(process=process, health_interval=interval)
                    self.start()
                    heard: list[bool] = []
                    self.availability.watch(heard.append)
                    self.refuse_event()
                    self.assertEqual((self.problems(), heard), ([self.WHY], [False]))
                    self.look(REFUSED)
                    self.clock.advance(0.02)
                    self.look(OK)
                    self.assertEqual((self.problems(), heard), ([], [False, True]))

    def test_so_does_a_look_that_is_refused(self) -> None:
        self.clock.advance(5)
        self.look(REFUSED)
        self.assertEqual((self.problems(), self.availability.available), ([self.WHY], False))

    def test_an_event_during_a_look(self) -> None:
        self.clock.advance(5)
        transport = self.health.accept()
        self.refuse_event()
        self.assertEqual((self.problems(), transport.ended), ([self.WHY], "aborted"))
        settle(transport)
        self.refuse_event()
        self.look(OK)
        self.assertEqual((self.problems(), self.availability.available), ([], True))

    def test_a_broken_connection_has_it_looked_at(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.accept().lose()
        self.failureResultOf(called, PluginError)
        self.assertEqual(self.problems(), [])
        self.look(REFUSED)
        self.assertEqual(self.problems(), [self.WHY])

    def test_one_behind_a_proxy_that_closes_every_connection(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.accept().lose()
        self.failureResultOf(called, PluginError)
        self.health.accept().lose()
        self.assertEqual(
            self.problems(), ["plugin: it can't be reached: the connection was closed without a response"]
        )
        self.assertFalse(self.availability.available)
        self.clock.advance(0.1)
        self.look(OK)
        self.assertEqual((self.problems(), self.availability.available), ([], True))

    def test_its_process_is_started_again_when_it_goes_on_refusing(self) -> None:
        self.refuse_event()
        self.look_until(REFUSED_LIMIT - 0.1, REFUSED)
        self.assertEqual(self.process.journal, ["start"])
        self.look_until(1.5, REFUSED)
        why = "it has stopped responding: can't connect: Connection refused"
        self.assertEqual(self.process.journal, ["start", f"restart: {why}"])

    def test_that_the_node_has_no_descriptors_says_nothing_about_the_plugin(self) -> None:
        for error in (OSError(24, "Too many open files"), socket.gaierror(-3, "Try again")):
            with self.subTest(error=error), capturedLogs() as events:
                for _ in range(5):
                    self.clock.advance(5)
                    self.look(error)
                self.assertEqual((self.problems(), self.availability.available), ([], True))
                why = error.strerror
                self.assertEqual(
                    [formatEvent(event) for event in events],
                    [f"GET /health: can't connect: {why}; this says nothing about the plugin"],
                )
                self.refuse_event(error)
                self.assertEqual(self.problems(), [f"plugin: it can't be reached: can't connect: {why}"])
                self.assertFalse(self.availability.available, "events would be refused one after the other")
                self.look_until(60, error)
                self.assertEqual(self.process.journal, ["start"], "a healthy plugin was killed")
                while not self.looking():
                    self.clock.advance(0.1)
                self.look(OK)
                self.assertEqual((self.problems(), self.availability.available), ([], True))

    def test_a_request_that_was_not_written_yet(self) -> None:
        """The connection broke in the turn in which it was to be sent."""
        turns: list[Callable[[], object]] = []
        pool = Pool(self.plugin, 2, 1.5, 5.0, self.clock, Turn(turns.append))
        client = PluginClient(URL, pool, pool, 1000, self.clock)
        posted = client.post_event((b"{}",), 5.0)
        self.plugin.accept().lose()
        self.assertFalse(cast(RequestError, self.failureResultOf(posted).value).sent)


class SignOfLifeTests(HttpAdapterTestCase):
    """A plugin that serves one connection at a time, such as that of the gateway's pool."""

    def test_what_it_sends_to_others_counts(self) -> None:
        self.start()
        for _ in range(10):
            self.clock.advance(5)
            transport = self.health.accept()
            self.clock.advance(1)
            self.adapter.activity.received += 1
            self.clock.advance(4)
            settle(transport)
        self.assertEqual((self.problems(), self.process.journal), ([], ["start"]))

    def test_also_before_it_is_ready(self) -> None:
        self.start()
        self.process.ends("its process ended: exit status 1")
        self.process.starts()
        for _ in range(10):
            transport = self.health.accept()
            self.adapter.activity.received += 1
            self.clock.advance(CHECK_TIMEOUT)
            settle(transport)
            self.clock.advance(1)
        self.assertEqual(self.process.journal, ["start"])


class TaskTests(HttpAdapterTestCase):
    """``mode: task``."""

    def respond(self, called: Deferred[Any], status: int, body: bytes) -> tuple[str, Any]:
        """:returns: the path and the body of the request."""
        transport = self.plugin.accept()
        head, _, sent = transport.sent.partition(b"\r\n\r\n")
        response(transport, b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        return head.split()[1].decode(), json.loads(sent)

    def call(self, status: int, body: bytes) -> Deferred[Any]:
        self.start()
        task = Task({"task_id": "a", "task_params": '{"x": [1]}', "symbol": "S"}, "1m")
        called = self.adapter.call_task(task, EVENT, 5.0)
        path, sent = self.respond(called, status, body)
        self.assertEqual(path, "/on-task")
        self.assertEqual(
            sent["event"], {"type": EVENT.type, "name": EVENT.name, "metadata": dict(EVENT.metadata)}
        )
        self.assertEqual(
            sent["task"],
            {
                "task_id": "a",
                "task_params": '{"x": [1]}',
                "symbol": "S",
                "params": {"x": [1]},
                "interval": "1m",
            },
        )
        return called

    def test_a_task(self) -> None:
        result = self.successResultOf(self.call(201, b'{"status": 3, "result": "half"}'))
        self.assertEqual(result, TaskResult("a", 3, "half"))

    def test_a_status_of_failure(self) -> None:
        for status in (302, 404, 500):
            error = self.failureResultOf(self.call(status, b""), PluginError).value
            self.assertIn(f"POST /on-task: HTTP status {status}", str(error))
            self.adapter.stopService()
            self.setUp()

    def test_a_message(self) -> None:
        self.start()
        message = Message(b"\xff", "s.a", {"A": "b"}, "S", 4, 2, "2026-01-01T00:00:00Z")
        called = self.adapter.call_message(message, EVENT, 5.0)
        path, sent = self.respond(called, 204, b"")
        self.assertEqual(path, "/on-message")
        self.assertEqual(
            sent["message"],
            {
                "data": "/w==",
                "encoding": "base64",
                "subject": "s.a",
                "headers": {"A": "b"},
                "stream": "S",
                "sequence": 4,
                "delivered": 2,
                "timestamp": "2026-01-01T00:00:00Z",
            },
        )
        self.assertEqual(self.successResultOf(called), TriggerResponse())

    def test_one_that_is_away(self) -> None:
        self.start()
        called = self.adapter.call_task(Task({"task_id": "a"}), EVENT, 5.0)
        self.plugin.refuse(REFUSED)
        self.failureResultOf(called, PluginUnavailableError)


class OnTriggerTests(HttpAdapterTestCase):
    def call(self, status: int, body: bytes) -> Deferred[TriggerResponse]:
        called = self.adapter.on_trigger(EVENT)
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
        response(self.plugin.accept(), head + body)
        return called

    def test_a_long_response_is_read_in_a_thread(self) -> None:
        in_thread: list[object] = []

        def defer(reactor: object, function: Any, *args: Any) -> Deferred[Any]:
            in_thread.append(reactor)
            return succeed(function(*args))

        self.patch(http, "in_thread", defer)
        for text, used in (("x", []), ("x" * LONG, [self.clock])):
            body = json.dumps({"task_results": [{"task_id": "a", "status": 2, "result": text}]}).encode()
            response = self.successResultOf(self.call(200, body))
            self.assertEqual((response.task_results, in_thread), ((TaskResult("a", 2, text),), used))

    def failure(self, called: Deferred[TriggerResponse]) -> str:
        return str(self.failureResultOf(called, PluginError).value)

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("scfd_plugin_requests_total", {"outcome": outcome})

    def test_posts_the_event(self) -> None:
        self.adapter.on_trigger(EVENT)
        head, _, body = self.plugin.accept().sent.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /on-trigger HTTP/1.1\r\n"), head)
        self.assertIn(b"\r\ntraceparent: 00-ab-cd-01\r\n", head)
        self.assertEqual(body, EVENT.to_json())

    def test_a_timer_event_has_its_tasks_where_the_config_says(self) -> None:
        for form, keys in (("both", {"tasks", "tasks_md5"}), ("payload", set())):
            with self.subTest(form=form):
                self.adapter._settings = evolve(self.adapter._settings, event_form=form)
                self.adapter.on_trigger(TriggerEvent("timer", "t", {"tasks": [], "tasks_md5": "empty"}))
                body = json.loads(self.plugin.accept().sent.partition(b"\r\n\r\n")[2])
                self.assertEqual(set(body) - {"type", "name", "payload", "metadata"}, keys)

    def test_a_response(self) -> None:
        called = self.call(200, b'{"task_results": [{"task_id": "a", "status": 2}]}')
        self.assertEqual(self.successResultOf(called), TriggerResponse((TaskResult("a", 2),)))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.count("succeeded"), 1)

    def test_an_odd_body_is_success_without_results_and_is_warned_of(self) -> None:
        for body, oddity in ((b"", "the body is empty"), (b"[]", "the body is not a JSON object")):
            with self.subTest(body=body), capturedLogs() as events:
                for _ in range(2):  # said once, and counted
                    self.assertEqual(self.successResultOf(self.call(200, body)), TriggerResponse())
                expected = '{"task_results": [{"task_id": "the task\'s", "status": 2, "result": "a text"}]}'
                line = f"my-queue: no task results from the plugin: {oddity}; expected {expected}"
                self.assertEqual(
                    [(event["log_level"], formatEvent(event)) for event in events], [(LogLevel.warn, line)]
                )
        self.assertEqual(self.count("no results"), 4)

    def test_no_results_are_not_odd(self) -> None:
        with capturedLogs() as events:
            self.successResultOf(self.call(200, b"{}"))
        self.assertEqual((events, self.count("succeeded")), ([], 1))

    def test_another_status_is_a_failure(self) -> None:
        for status in (201, 302, 400, 404, 500, 503):
            with self.subTest(status=status):
                self.assertEqual(
                    self.failure(self.call(status, b"why")), f"POST /on-trigger: HTTP status {status}: why"
                )
        self.assertEqual(self.count("status"), 6)

    def test_a_redirect_that_is_not_followed_is_named(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.accept().receive(
            b"HTTP/1.1 302 X\r\nLocation: http://h/login?token=s3cret\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(
            self.failure(called),
            "POST /on-trigger: HTTP status 302: Location 'http://h/login', which is not followed",
        )

    def test_a_long_body_is_cut(self) -> None:
        self.assertEqual(
            self.failure(self.call(500, b"\xff" * 1000)),
            "POST /on-trigger: HTTP status 500: " + "\ufffd" * 200,
        )

    def test_failures_are_told_apart(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        self.plugin.refuse(REFUSED)
        self.assertEqual(self.failure(called), "POST /on-trigger: can't connect: Connection refused")
        called = self.adapter.on_trigger(EVENT)
        self.plugin.accept().lose()
        self.assertEqual(
            self.failure(called), "POST /on-trigger: the connection was closed without a response"
        )
        self.assertEqual((self.count("connect"), self.count("broken")), (1, 1))

    def test_one_that_was_never_sent_is_told_apart(self) -> None:
        """Nothing of it was handled: it costs no delivery of a message."""
        called = self.adapter.on_trigger(EVENT)
        self.plugin.refuse(REFUSED)
        self.failureResultOf(called, PluginUnavailableError)
        called = self.adapter.on_trigger(EVENT)
        self.plugin.accept().lose()
        self.assertFalse(self.failureResultOf(called).check(PluginUnavailableError))

    def test_its_time_limit_is_the_triggers_own_or_that_of_the_config(self) -> None:
        for own, limit in ((None, 2.5), (4.0, 4.0)):
            with self.subTest(own=own):
                self.adapter = self.make_adapter(timeout=2.5)
                called = self.adapter.on_trigger(evolve(EVENT, timeout=own))
                transport = self.plugin.accept()
                self.clock.advance(limit - 0.1)
                self.assertNoResult(called)
                self.clock.advance(0.2)
                self.assertEqual(self.failure(called), f"POST /on-trigger: no response after {limit:g} s")
                self.assertEqual(transport.ended, "aborted", "the plugin works on")
        self.assertEqual(self.count("timeout"), 2)

    def test_cancelling(self) -> None:
        called = self.adapter.on_trigger(EVENT)
        transport = self.plugin.accept()
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertEqual((transport.ended, self.count("cancelled")), ("aborted", 1))


class OtherPartsTests(HttpAdapterTestCase):
    def test_heartbeat_extra_is_that_of_the_config(self) -> None:
        adapter = self.make_adapter(heartbeat_extra={"capabilities": ["kline"]})
        extra = adapter.heartbeat_extra()
        self.assertEqual(extra, {"capabilities": ["kline"]})
        extra["more"] = 1
        self.assertEqual(adapter.heartbeat_extra(), {"capabilities": ["kline"]})

    def test_serves_nothing_in_this_process(self) -> None:
        self.assertIsNone(self.adapter.web_resource())
