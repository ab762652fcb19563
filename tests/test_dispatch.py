"""Tests for scfd.dispatch, and for the fakes it is tested with."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.dispatch import Dispatcher
from scfd.errors import PluginError, PluginUnavailableError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskStore
from scfd.identity import Identity
from scfd.interfaces import IAdapter, IDrainable, IReports
from scfd.status.context import Context
from tests.fakes import FakeAdapter, FakeService, MemoryReports

RESULTS = (TaskResult("task-001", 2), TaskResult("task-002", 4, "why it failed"))


class FakesTests(SynchronousTestCase):
    def test_fakes_provide_what_they_stand_for(self) -> None:
        verifyObject(IAdapter, FakeAdapter())
        verifyObject(IReports, MemoryReports())
        verifyObject(IDrainable, FakeService("any", []))


class DispatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answer: Any = TriggerResponse(RESULTS)
        self.adapter = FakeAdapter(self.plugin)
        self.identity = Identity("node-abc", "v1.0.0")
        self.tasks = TaskStore()
        self.reports = MemoryReports()
        self.clock = Clock()
        self.context = Context(self.clock)
        self.metrics = self.context.metrics
        self.dispatcher = Dispatcher(self.adapter, self.identity, self.tasks, self.reports, self.context)

    def plugin(self, event: TriggerEvent) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def dispatch(self, **metadata: str) -> Deferred[None]:
        return self.dispatcher.dispatch(TriggerEvent("timer", "my-timer", {"a": 1}, metadata))

    def counts(self) -> tuple[int, int, int]:
        return self.dispatcher.running, self.dispatcher.succeeded, self.dispatcher.failed

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"scfd_{name}", labels)

    def test_one_that_was_not_sent_is_no_failure_of_the_plugin(self) -> None:
        self.answer = PluginUnavailableError("can't connect")
        with capturedLogs() as events:
            self.failureResultOf(self.dispatch(), PluginUnavailableError)
        self.assertEqual((events, self.counts()), ([], (0, 0, 0)))
        self.assertEqual(self.sample("events_total", trigger="my-timer", outcome="not sent"), 1)

    def test_the_event_gets_the_node_and_the_tasks(self) -> None:
        self.tasks.replace([{"task_id": "task-001"}])
        self.successResultOf(self.dispatch(fire_time="2025-01-01T00:01:00Z"))
        (event,) = self.adapter.events
        metadata = dict(event.metadata)
        self.assertRegex(metadata.pop("traceparent"), "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
        self.assertEqual(
            metadata, {"fire_time": "2025-01-01T00:01:00Z", "nodeID": "node-abc", "version": "v1.0.0"}
        )
        self.assertEqual((event.type, event.name, event.payload), ("timer", "my-timer", {"a": 1}))
        self.assertIs(event.snapshot, self.tasks.snapshot)

    def test_the_storage_server_once_it_is_known(self) -> None:
        self.identity.storage_server_url = "http://10.0.0.2:19104"
        self.identity.storage_server_rpc = "ip://10.0.0.2:19105"
        self.dispatch()
        metadata = self.adapter.events[0].metadata
        self.assertEqual(metadata["storage_server_url"], "http://10.0.0.2:19104")
        self.assertEqual(metadata["storage_server_rpc"], "ip://10.0.0.2:19105")

    def test_data_points_are_dropped_with_a_warning_once_a_trigger(self) -> None:
        self.answer = TriggerResponse(unstored=3)
        with capturedLogs() as events:
            self.dispatch()
            self.dispatch()
            self.dispatcher.dispatch(TriggerEvent("timer", "other"))
        self.assertEqual(
            [(event["log_level"], event["trigger"]) for event in events],
            [(LogLevel.warn, "my-timer"), (LogLevel.warn, "other")],
        )
        self.assertEqual(events[0]["trace"], self.adapter.events[0].traceparent[3:35])
        self.assertEqual(self.sample("data_points_dropped_total", trigger="my-timer"), 6)
        self.assertEqual(self.sample("data_points_dropped_total", trigger="other"), 3)

    def test_the_trace_of_a_message_goes_on(self) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        self.dispatch(**{"header.traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        self.assertTrue(self.adapter.events[0].traceparent.startswith(f"00-{trace}-"))

    def test_a_trigger_can_not_speak_for_the_node(self) -> None:
        self.dispatch(nodeID="somebody else")
        self.assertEqual(self.adapter.events[0].metadata["nodeID"], "node-abc")

    def test_results_are_reported(self) -> None:
        self.assertIsNone(self.successResultOf(self.dispatch()))
        self.assertEqual(self.reports.accepted, list(RESULTS))
        self.assertEqual(self.counts(), (0, 1, 0))
        self.assertEqual(self.sample("events_total", trigger="my-timer", outcome="succeeded"), 1.0)
        self.assertEqual(self.sample("results_total", status="4"), 1.0)

    def test_many_results_are_reported_in_parts(self) -> None:
        """Each part when the one before is on disk, so that the reactor has its turn."""
        results = [TaskResult(f"t{number}", 2) for number in range(2500)]
        self.answer = TriggerResponse(tuple(results))
        asked: list[tuple[int, Deferred[None]]] = []

        def put(part: Any) -> Deferred[None]:
            asked.append((len(part), Deferred()))
            return asked[-1][1]

        self.patch(self.reports, "put", put)
        dispatched = self.dispatch()
        for count in (1, 2, 3):
            self.assertNoResult(dispatched)
            self.assertEqual(len(asked), count)
            asked[-1][1].callback(None)
        self.successResultOf(dispatched)
        self.assertEqual([count for count, _ in asked], [1000, 1000, 500])

    def test_failing_tasks_of_the_list(self) -> None:
        """By their last result; what is not in the list, or no longer, does not count."""
        self.tasks.replace([{"task_id": "a"}, {"task_id": "b"}, {"task_id": "c"}])
        self.answer = TriggerResponse(
            (TaskResult("a", 4), TaskResult("b", 3), TaskResult("c", 2), TaskResult("stranger", 4))
        )
        self.dispatch()
        self.assertEqual(self.dispatcher.failing, {"a", "b"})
        self.answer = TriggerResponse((TaskResult("a", 2),))
        self.dispatch()
        self.assertEqual(self.dispatcher.failing, {"b"})
        self.tasks.replace([{"task_id": "a"}])
        self.dispatch()
        self.assertEqual(self.dispatcher.failing, set())

    def test_odd_results_do_not_cost_the_others(self) -> None:
        odd: list[Any] = [
            TaskResult("big", 2**70),
            TaskResult("no JSON", 2, {1, 2}),  # type: ignore[arg-type]
            TaskResult("no number", 2, float("nan")),  # type: ignore[arg-type]
            {"task_id": "a dict", "status": 2},
            "text",
            None,
        ]
        self.answer = TriggerResponse([*odd, TaskResult("fine", 2)])
        self.successResultOf(self.dispatch())
        self.assertEqual(self.reports.accepted, [TaskResult("fine", 2)])
        self.assertEqual(self.sample("results_dropped_total", reason="malformed"), 6.0)

    def test_no_results(self) -> None:
        self.answer = TriggerResponse()
        self.successResultOf(self.dispatch())
        self.assertEqual(self.reports.accepted, [])

    def test_fires_once_the_results_are_on_disk(self) -> None:
        writing: Deferred[None] = Deferred()
        self.reports.put = lambda results: writing  # type: ignore[method-assign]
        dispatched = self.dispatch()
        self.assertNoResult(dispatched)
        self.assertEqual(self.counts(), (1, 0, 0))
        writing.callback(None)
        self.successResultOf(dispatched)
        self.assertEqual(self.counts(), (0, 1, 0))

    def test_events_run_side_by_side(self) -> None:
        first, second = Deferred[TriggerResponse](), Deferred[TriggerResponse]()
        self.answer = first
        self.dispatch()
        self.answer = second
        self.clock.advance(2)
        self.dispatch()
        self.assertEqual(self.counts(), (2, 0, 0))
        self.clock.advance(1)
        second.callback(TriggerResponse())
        first.callback(TriggerResponse())
        self.assertEqual(self.counts(), (0, 2, 0))
        self.assertEqual(self.sample("event_seconds_sum", trigger="my-timer"), 4.0)

    def test_a_plugin_that_says_no_is_one_line_in_the_log(self) -> None:
        self.answer = PluginError("HTTP status 500")
        with capturedLogs() as logged:
            failure = self.failureResultOf(self.dispatch(), PluginError)
        self.assertIs(failure.value, self.answer)
        trace = self.adapter.events[0].traceparent.split("-")[1]
        self.assertEqual(
            [(entry["log_level"], formatEvent(entry)) for entry in logged],
            [(LogLevel.warn, f"my-timer: the event failed: HTTP status 500 (trace {trace})")],
        )
        self.assertEqual(self.reports.accepted, [])
        self.assertEqual(self.counts(), (0, 0, 1))
        self.assertEqual(self.sample("events_total", trigger="my-timer", outcome="failed"), 1.0)

    def test_a_fault_in_the_plugins_code_has_its_traceback(self) -> None:
        self.answer = ZeroDivisionError()
        self.failureResultOf(self.dispatch(), ZeroDivisionError)
        (failure,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertIn("in plugin", failure.getTraceback())
        self.assertEqual(self.counts(), (0, 0, 1))

    def test_a_full_disk_fails_the_event(self) -> None:
        self.reports.broken = OSError("no space left")
        self.failureResultOf(self.dispatch(), OSError)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.counts(), (0, 0, 1))

    def test_unusable_results_are_dropped_and_the_others_stand(self) -> None:
        unusable: list[Any] = [TaskResult("", 2), TaskResult("a", "2"), TaskResult("a", True)]  # type: ignore[arg-type]
        self.answer = TriggerResponse((*unusable, *RESULTS))
        with capturedLogs() as logged:
            self.successResultOf(self.dispatch())
        self.assertEqual(self.reports.accepted, list(RESULTS))
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            [
                f"my-timer: result {index} of the plugin's response is dropped: {reason}"
                for index, reason in (
                    (0, "task_id is '', expected that of a task, a text"),
                    (1, "status is '2', expected 0 to 4, such as 2 for success and 4 for failure"),
                    (2, "status is True, expected 0 to 4, such as 2 for success and 4 for failure"),
                )
            ],
        )
        self.assertEqual(self.sample("results_dropped_total", reason="malformed"), 3.0)

    def test_a_dropped_result_is_said_once_for_each_reason(self) -> None:
        self.answer = TriggerResponse((TaskResult("a", "success"),) * 3)  # type: ignore[arg-type]
        with capturedLogs() as logged:
            self.dispatch()
            self.dispatch()
        self.assertEqual(len(logged), 1)
        self.assertEqual(self.sample("results_dropped_total", reason="malformed"), 6.0)

    def test_a_value_as_result_is_reported_as_json(self) -> None:
        values: list[Any] = [{"price": 1.5}, [1], 7, False, None, "text"]
        self.answer = TriggerResponse(TaskResult("a", 2, value) for value in values)
        self.successResultOf(self.dispatch())
        self.assertEqual(
            [result.result for result in self.reports.accepted],
            ['{"price":1.5}', "[1]", "7", "false", "", "text"],
        )

    def test_a_task_that_is_not_in_the_list_is_named_and_reported(self) -> None:
        self.tasks.replace([{"task_id": "task-001"}, {"task_id": "task-003"}])
        with capturedLogs() as logged:
            self.successResultOf(self.dispatch())
            self.successResultOf(self.dispatch())
        self.assertEqual(
            [formatEvent(entry) for entry in logged],
            [
                "my-timer: a result has the task_id 'task-002', expected that of a task in the list, such as"
                " 'task-001'; it is reported as it is"
            ],
        )
        self.assertEqual(len(self.reports.accepted), 4)
        self.assertEqual(self.sample("results_unknown_total"), 2.0)
