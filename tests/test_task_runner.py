"""Tests for scfd.adapter.tasks: a native task plugin, the real dispatcher, a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, fail
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from scfd import build
from scfd.adapter.native import NativeAdapter
from scfd.adapter.tasks import TaskLimits, TaskRunner
from scfd.config import AdapterSettings, Config, NatsSettings, TimerSettings
from scfd.dispatch import Dispatcher
from scfd.errors import PluginError, PluginUnavailableError, StartupError, StorageError
from scfd.events import Message, Task, TaskResult, TriggerEvent
from scfd.events.response import LONGEST_RESULT
from scfd.events.tasks import TaskStore
from scfd.function import Framework
from scfd.identity import Identity
from scfd.interfaces import ITaskPlugin
from scfd.status.context import Context
from scfd.triggers.timer.cron import Cron
from tests.fakes import MemoryReports


@implementer(ITaskPlugin)
class Plugin:
    """
    :ivar does: what it does, by task id; or for all others, by ``None``.
    :ivar running: ids of tasks that are under way.
    """

    name = "my-plugin"

    def __init__(self) -> None:
        self.does: dict[str | None, Callable[[Task], Any]] = {None: lambda task: None}
        self.calls: list[tuple[str, str | None]] = []
        self.on_message: Callable[[Message, TriggerEvent], Any] | None = None
        self.events: list[TriggerEvent] = []

    def init(self, framework: Any) -> None:
        pass

    def on_task(self, task: Task, event: TriggerEvent) -> Any:
        self.calls.append((task.task_id, task.interval))
        self.events.append(event)
        return self.does.get(task.task_id, self.does[None])(task)


class OddError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def _raise(error: BaseException) -> Callable[[Task], Any]:
    def raises(task: Task) -> Any:
        raise error

    return raises


class TaskRunnerTestCase(SynchronousTestCase):
    concurrency, time_limit, retries = 10, 5.0, 0
    #: What plugins raise here, and the log has tracebacks of.
    raised: tuple[type[BaseException], ...] = ()

    def setUp(self) -> None:
        self.plugin = Plugin()
        self.clock = Clock()
        self.context = Context(self.clock)
        self.context.availability.set(True)
        self.tasks = TaskStore()
        self.reports = MemoryReports()
        framework = Framework(Config(), Identity("node", "v1"), self.tasks)
        self.adapter: Any = NativeAdapter(self.plugin, framework, None, self.context)
        slots = DeferredSemaphore(self.concurrency)
        self.limits = {"t": TaskLimits(self.time_limit, self.retries, slots), "u": TaskLimits(1.0, 0, slots)}
        self.runner = TaskRunner(self.adapter, self.limits, self.context)
        self.dispatcher = Dispatcher(self.runner, framework.identity, self.tasks, self.reports, self.context)
        self.runner.report = self.dispatcher.report_early

    def tearDown(self) -> None:
        self.flushLoggedErrors(*self.raised) if self.raised else None

    def give(self, *tasks: str | dict[str, Any]) -> None:
        self.tasks.replace([{"task_id": task} if isinstance(task, str) else task for task in tasks])

    def fire(self, name: str = "t", **options: Any) -> Deferred[None]:
        done = self.dispatcher.dispatch(TriggerEvent("timer", name, **options))
        self.clock.advance(0)
        return done

    def results(self) -> dict[str, tuple[int, str]]:
        return {result.task_id: (result.status, result.result) for result in self.reports.accepted}

    def sample(self, name: str, **labels: str) -> float | None:
        return self.context.metrics.registry.get_sample_value(f"scfd_{name}", labels)


class ResultsTests(TaskRunnerTestCase):
    raised = (KeyError, ValueError, CancelledError, OddError)

    def test_four_tasks_four_results(self) -> None:
        """One raises, one hangs, one returns a dict."""
        self.give("a", "raises", "hangs", "dict")
        self.plugin.does = {
            None: lambda task: "a text",
            "raises": lambda task: task.params["symbol"],
            "hangs": lambda task: Deferred(),
            "dict": lambda task: {"rows": 3},
        }
        with capturedLogs() as logs:
            done = self.fire()
            self.assertEqual(
                self.results(),
                {"a": (2, "a text"), "raises": (4, "KeyError: 'symbol'"), "dict": (2, '{"rows":3}')},
            )
            self.assertNoResult(done)
            self.clock.pump([5, 0])
        self.successResultOf(done)
        self.assertEqual(self.results()["hangs"], (4, "no response after 5 s"))
        self.assertEqual(self.dispatcher.failing, {"raises", "hangs"})
        self.assertEqual((self.dispatcher.succeeded, self.dispatcher.failed), (1, 0))
        self.assertEqual(
            [formatEvent(log).partition(" (trace")[0] for log in logs],
            ["t: task raises failed", "t: task hangs failed: no response after 5 s"],
        )
        traceback = logs[0]["log_failure"].getTraceback()
        self.assertIn('task.params["symbol"]', traceback)
        self.assertNotIn("scfd/adapter", traceback)

    def test_a_failure_is_said_once(self) -> None:
        self.give("a", "b", "c")
        self.plugin.does[None] = lambda task: task.params["symbol"]
        self.plugin.does["c"] = lambda task: task.params["interval"]
        with capturedLogs() as logs:
            for _ in range(3):
                self.successResultOf(self.fire())
        self.assertEqual(len(logs), 2)
        self.assertEqual(self.sample("results_total", status="4"), 9)

    def test_what_is_returned(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        unusable = "expected a text or a JSON value"
        for value, expected in (
            (None, (2, "")),
            ("", (2, "")),
            (0, (2, "0")),
            (True, (2, "true")),
            ([1, None], (2, "[1,null]")),
            (TaskResult("a", 3, "half"), (3, "half")),
            (TaskResult("a", 4), (4, "")),
            (TaskResult("a", 2, {"b": 1}), (2, '{"b":1}')),  # type: ignore[arg-type]
            (TaskResult("b", 2), (4, "its result has task_id 'b', expected 'a'")),
            (float("nan"), (4, f"result is nan, {unusable}")),
            (b"x", (4, f"result is b'x', {unusable}")),
            ({1}, (4, f"result is {{1}}, {unusable}")),
            (circle, (4, f"result is [[...]], {unusable}")),
            (TaskResult("a", "success"), (4, "status is 'success', expected 0 to 4, such as 2")),  # type: ignore[arg-type]
            (iter(()), (4, "result is <tuple_iterator object")),
            ("x" * (LONGEST_RESULT + 1), (4, "its result has 1048577 characters, expected 1048576 at most")),
            ("x" * LONGEST_RESULT, (2, "xxx")),
        ):
            with self.subTest(value=repr(value)[:60]):
                self.give("a")
                self.plugin.does[None] = lambda task, value=value: value  # type: ignore[misc]
                self.successResultOf(self.fire())
                result = self.reports.accepted[-1]
                self.assertEqual(result.status, expected[0])
                self.assertTrue(result.result.startswith(expected[1]), result.result[:200])
        self.assertEqual(self.sample("results_dropped_total", reason="malformed"), 0)

    def test_what_is_no_result_is_said_once_in_the_log(self) -> None:
        """The plugin's author reads the log, and not the control plane's page; the result says it, too."""
        self.limits["t"] = TaskLimits(5.0, 3, DeferredSemaphore(1))  # what is wrong stays so: one attempt
        several: dict[str, Any] = {"task_results": [{"task_id": "a", "status": 2}]}
        for value, words in (
            ({1, 2}, "result is {1, 2}, expected a text or a JSON value"),
            (
                several,
                "the response has task_results, expected the result of one task, such as a text",
            ),
            (TaskResult("x", 2, ""), "its result has task_id 'x', expected 'a'"),
        ):
            with self.subTest(words=words), capturedLogs() as events:
                self.plugin.does[None] = lambda task, value=value: value  # type: ignore[misc]
                for _ in range(2):
                    self.give("a")
                    self.successResultOf(self.fire())
                lines = [text for event in events if "task a failed" in (text := formatEvent(event))]
                self.assertEqual(len(lines), 1)
                self.assertIn(f"task a failed: {words} (trace ", lines[0])
                self.assertEqual(self.results()["a"], (4, words))
        self.assertEqual(len(self.plugin.calls), 6)

    def test_whatever_is_raised_is_one_task_s_failure(self) -> None:
        for error, words in (
            (ValueError("bad\nvalue"), "ValueError: bad value"),
            (PluginError("the exchange is closed"), "the exchange is closed"),
            (SystemExit(3), "on_task raised SystemExit: 3"),
            (KeyboardInterrupt(), "on_task raised KeyboardInterrupt"),
            (GeneratorExit(), "on_task raised GeneratorExit"),
            (CancelledError(), "CancelledError"),
            (OddError(), "OddError"),
            (ValueError("x" * 5000), "ValueError: " + "x" * 1988),
        ):
            with self.subTest(error=type(error).__name__), capturedLogs():
                self.give("a", "b")
                self.plugin.does["a"] = _raise(error)
                self.successResultOf(self.fire())
                self.assertEqual(self.results(), {"a": (4, words), "b": (2, "")})

    def test_awaitables(self) -> None:
        async def later(task: Task) -> str:
            await deferLater(self.clock, 2)
            return "done"

        self.give("a", "b")
        self.plugin.does |= {"a": later, "b": lambda task: deferLater(self.clock, 1, lambda: "b")}
        done = self.fire()
        self.clock.pump([1, 0])
        self.assertEqual(self.results(), {"b": (2, "b")})
        self.clock.pump([1, 0])
        self.successResultOf(done)
        self.assertEqual(self.results()["a"], (2, "done"))

    def test_the_event_has_the_results_that_were_reported_early(self) -> None:
        self.give("a", "b", "c")
        self.plugin.does["b"] = lambda task: TaskResult("b", 4, "no")
        self.plugin.does["c"] = lambda task: Deferred()
        done = self.fire()
        self.clock.pump([5, 0])
        self.successResultOf(done)
        (past,) = self.context.history.last()
        self.assertEqual((past.outcome, past.result_count, past.statuses), ("tasks failed", 3, {2: 1, 4: 2}))
        self.assertEqual([result[0] for result in past.results], ["b", "c", "a"])

    def test_cancelled_by_an_operator(self) -> None:
        self.give("a", "b")
        self.plugin.does["b"] = lambda task: Deferred()
        done = self.fire()
        with capturedLogs():
            self.context.history.running()[0].done.cancel()
            self.clock.advance(0)
        self.failureResultOf(done, CancelledError)
        (past,) = self.context.history.last()
        self.assertEqual((past.outcome, past.result_count), ("cancelled", 1))
        self.assertEqual(self.results(), {"a": (2, "")})

    def test_no_tasks(self) -> None:
        self.successResultOf(self.fire())
        self.assertEqual(self.dispatcher.succeeded, 1)


class TasksTests(TaskRunnerTestCase):
    def test_jobs_and_tasks_without_intervals(self) -> None:
        self.give(
            {"task_id": "a", "task_params": '{"intervals": ["1m", "5m", "1h"]}'},
            {"task_id": "b", "task_params": '{"intervals": []}'},
            {"task_id": "c", "task_params": '{"intervals": "1m"}'},
            {"task_id": "d", "invalid": 1},
            {"task_id": "e"},
        )
        self.successResultOf(self.fire(intervals=frozenset({"1m", "5m"})))
        self.assertEqual(self.plugin.calls, [("a", "1m"), ("a", "5m"), ("c", None), ("e", None)])
        self.assertEqual([result.task_id for result in self.reports.accepted], ["a", "a", "c", "e"])

    def test_params(self) -> None:
        for given, params in (
            ("", {}),
            (" ", {}),
            (None, {}),
            ('{"a": [1]}', {"a": [1]}),
            ("[1]", [1]),
            ("null", None),
            ("1.5", 1.5),
            ('"text"', "text"),
            ("true", True),
            ({"a": 1}, {"a": 1}),
        ):
            with self.subTest(given=given):
                self.assertEqual(Task({"task_id": "a", "task_params": given}).params, params)
        self.assertEqual(Task({"task_id": "a"}).params, {})

    def test_params_that_are_no_json_are_that_task_s_failure(self) -> None:
        for given, words in (
            ("{", "Expecting property name enclosed in double quotes"),
            ("NaN", "NaN is not JSON"),
            ("[" * 100_000, "nested too deeply"),
            ("\ud800", "'utf-8' codec"),
        ):
            with self.subTest(given=given[:5]), capturedLogs() as logs:
                self.give({"task_id": "a", "task_params": given}, "b")
                self.successResultOf(self.fire())
                status, result = self.results()["a"]
                self.assertEqual(status, 4)
                self.assertTrue(result.startswith(f"task_params is not JSON: {words}"), result)
                self.assertEqual(self.results()["b"], (2, ""))
                self.assertFalse([log for log in logs if "log_failure" in log])

    def test_a_task_is_a_mapping_that_nobody_changes(self) -> None:
        fields = {"task_id": "a", "id": 7, "rule_id": "r", "symbol": "BTC", "extra": {"x": [1]}}
        task = Task(fields, "1m")
        self.assertEqual((task.task_id, task.id, task.rule_id, task.interval), ("a", 7, "r", "1m"))
        self.assertEqual((task["symbol"], task.get("nothing"), len(task)), ("BTC", None, 5))
        task["extra"]["x"].append(2)
        self.assertEqual(task["extra"], {"x": [1]})
        with self.assertRaises(TypeError):
            task["symbol"] = "ETH"  # type: ignore[index]
        with self.assertRaises(AttributeError):
            task.interval = "5m"  # type: ignore[misc]


class LimitsTests(TaskRunnerTestCase):
    concurrency = 3

    def hang(self, *tasks: str) -> dict[str, Deferred[Any]]:
        hanging: dict[str, Deferred[Any]] = {}

        def hangs(task: Task) -> Deferred[Any]:
            hanging[task.task_id] = Deferred()
            return hanging[task.task_id]

        self.plugin.does[None] = hangs
        self.give(*tasks)
        return hanging

    def test_so_many_at_once(self) -> None:
        hanging = self.hang("a", "b", "c", "d", "e")
        done = self.fire()
        self.assertEqual(list(hanging), ["a", "b", "c"])
        hanging["b"].callback("x")
        self.assertEqual(list(hanging), ["a", "b", "c"], "its result is not on disk yet")
        self.clock.advance(0)
        self.assertEqual(list(hanging), ["a", "b", "c", "d"])
        for name in "acde":
            hanging[name].callback(None)
            self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual([result.task_id for result in self.reports.accepted], ["b", "a", "c", "d", "e"])

    def test_triggers_share_them(self) -> None:
        self.hang("a", "b")
        first = self.fire()
        second = self.fire("u")
        self.assertEqual(len(self.plugin.calls), 3)
        self.clock.pump([1, 0, 0, 4, 0, 0, 1, 0])
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(self.reports.accepted), 4)

    def test_an_event_has_its_own_time(self) -> None:
        self.hang("a", "b", "c", "d", "e")
        with capturedLogs() as logs:
            done = self.fire(timeout=2.0)
            self.clock.pump([2, 0])
        words = "2 tasks were not begun, since the event's 2 s are over; they are left for the next fire"
        self.assertEqual(str(self.failureResultOf(done, PluginError).value), words)
        self.assertEqual(set(self.results().values()), {(4, "no response after 2 s")})
        self.assertEqual(sorted(self.results()), ["a", "b", "c"])
        self.assertEqual(self.sample("tasks_left_total", trigger="t"), 2)
        self.assertIn(words, formatEvent(logs[-1]))

    def test_quick_ones_do_not_hold_the_reactor(self) -> None:
        def quick(task: Task) -> None:
            self.clock.rightNow += 0.002

        self.give(*(f"t{number}" for number in range(100)))
        self.plugin.does[None] = quick
        others: list[int] = []
        self.clock.callLater(0.01, lambda: others.append(len(self.plugin.calls)))
        self.successResultOf(self.fire())
        self.assertLess(others[0], 10)
        self.assertEqual(len(self.reports.accepted), 100)


class RetriesTests(TaskRunnerTestCase):
    raised = (ValueError,)
    retries = 2

    def test_with_a_growing_pause(self) -> None:
        self.give("a", "b")
        self.plugin.does["a"] = _raise(ValueError("x"))
        with capturedLogs():
            done = self.fire()
            self.clock.pump([0.9, 0.1, 1.9])
            self.assertEqual(self.plugin.calls.count(("a", None)), 2)
            self.assertNoResult(done)
            self.clock.pump([0.2, 0])
        self.successResultOf(done)
        self.assertEqual(self.plugin.calls.count(("a", None)), 3)
        self.assertEqual(self.results(), {"a": (4, "ValueError: x"), "b": (2, "")})
        self.assertEqual(self.sample("task_retries_total", trigger="t"), 2)

    def test_until_one_succeeds(self) -> None:
        self.give("a")
        self.plugin.does["a"] = lambda task: Deferred() if len(self.plugin.calls) == 1 else "well"
        done = self.fire()
        self.clock.pump([5, 1, 0])
        self.successResultOf(done)
        self.assertEqual(self.results(), {"a": (2, "well")})

    def test_a_failure_that_was_returned_stands(self) -> None:
        self.give("a")
        self.plugin.does["a"] = lambda task: TaskResult("a", 4, "closed today")
        self.successResultOf(self.fire())
        self.assertEqual(len(self.plugin.calls), 1)


class StoppingTests(TaskRunnerTestCase):
    raised = (ValueError,)
    concurrency, retries = 2, 3

    def test_what_runs_may_end_and_nothing_is_begun(self) -> None:
        running: list[Deferred[Any]] = []
        self.plugin.does[None] = lambda task: running.append(Deferred()) or running[-1]  # type: ignore[func-returns-value]
        self.give("a", "b", "c", "d", "e")
        done = self.fire()
        drained = self.runner.drain()
        self.assertNoResult(drained)
        with capturedLogs() as logs:
            for each in running:
                each.callback("x")
            self.clock.pump([0, 0])
        self.successResultOf(drained)
        words = "3 tasks were not begun, since the node is stopping; they are left for the next fire"
        self.assertEqual(str(self.failureResultOf(done, PluginError).value), words)
        self.assertEqual(self.results(), {"a": (2, "x"), "b": (2, "x")})
        self.assertIn(words, formatEvent(logs[-1]))
        self.assertEqual(self.sample("tasks_left_total", trigger="t"), 3)

    def test_no_further_attempt(self) -> None:
        self.give("a")
        self.plugin.does[None] = _raise(ValueError("x"))
        with capturedLogs():
            done = self.fire()
            self.runner.drain()
            self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.results(), {"a": (4, "ValueError: x")})
        self.assertEqual(len(self.plugin.calls), 1)

    def test_what_still_runs_in_the_end_is_cut_off(self) -> None:
        cancelled: list[Any] = []
        self.give("a", "b", "c")
        self.plugin.does[None] = lambda task: Deferred(cancelled.append)
        self.plugin.does["a"] = lambda task: "x"
        done = self.dispatcher.dispatch(TriggerEvent("timer", "t"))
        with capturedLogs():
            stopped = self.runner.stopService()
            self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(cancelled), 1)
        words = "1 tasks were not begun and 1 not finished, since the node has stopped"
        self.assertTrue(str(self.failureResultOf(done, CancelledError).value).startswith(words))
        self.assertEqual(self.results(), {"a": (2, "x")}, "it was known already")
        self.assertEqual(self.sample("tasks_left_total", trigger="t"), 2)


class AwayTests(TaskRunnerTestCase):
    concurrency = 2

    def away(self, task: Task) -> Any:
        raise PluginUnavailableError("refused")

    def test_an_event_of_which_nothing_was_given_is_the_trigger_s_again(self) -> None:
        self.give("a", "b", "c")
        self.plugin.does[None] = self.away
        self.failureResultOf(self.fire(), PluginUnavailableError)
        self.assertEqual(len(self.plugin.calls), 1)
        self.assertEqual(self.results(), {})
        self.assertEqual(self.dispatcher.failed, 0)

    def test_one_in_the_middle_waits_for_the_plugin(self) -> None:
        self.give("a", "b", "c", "d")
        self.plugin.does["c"] = self.away
        done = self.fire()
        self.clock.pump([0, 0])
        self.context.availability.set(False)
        self.clock.pump([1, 1, 1])
        self.assertNoResult(done)
        calls = len(self.plugin.calls)
        del self.plugin.does["c"]
        self.context.availability.set(True)
        self.clock.pump([0, 0, 0])
        self.successResultOf(done)
        self.assertEqual(sorted(self.results()), ["a", "b", "c", "d"])
        self.assertEqual(len(self.reports.accepted), 4)
        self.assertGreater(len(self.plugin.calls), calls)

    def test_nobody_says_that_it_is_away(self) -> None:
        """It is tried each second, and not without end."""
        self.give("a", "b", "c")
        self.plugin.does["c"] = self.away
        done = self.fire()
        self.clock.pump([0, 0, 0, 0.5])
        self.assertEqual(self.plugin.calls.count(("c", None)), 1)
        self.clock.pump([0.5, 0])
        self.assertEqual(self.plugin.calls.count(("c", None)), 2)
        self.runner.drain()
        self.clock.pump([0, 0])
        self.failureResultOf(done, PluginError)
        self.assertEqual(self.sample("tasks_left_total", trigger="t"), 1)


class StorageTests(TaskRunnerTestCase):
    concurrency = 1

    def test_a_disk_that_takes_no_results(self) -> None:
        self.give("a", "b", "c")
        self.reports.broken = StorageError("the disk is full")
        with capturedLogs():
            self.failureResultOf(self.fire(), StorageError)
        self.assertEqual(self.plugin.calls, [("a", None)])
        self.assertEqual(self.sample("tasks_left_total", trigger="t"), 2)

    def test_a_result_is_on_disk_before_the_next_task(self) -> None:
        disk: list[Deferred[None]] = []

        def put(results: object) -> Deferred[None]:
            disk.append(Deferred())
            return disk[-1]

        self.patch(self.reports, "put", put)
        self.give("a", "b")
        done = self.fire()
        self.assertEqual(self.plugin.calls, [("a", None)])
        disk[0].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.plugin.calls, [("a", None), ("b", None)])
        self.assertNoResult(done)
        disk[1].callback(None)
        self.successResultOf(done)


class MessagesTests(TaskRunnerTestCase):
    raised = (ValueError,)
    retries = 1
    EVENT = TriggerEvent(
        "nats",
        "t",
        {"order": 17},
        {
            "subject": "orders.new",
            "stream": "O",
            "stream_sequence": "4",
            "num_delivered": "2",
            "header.A": "b",
        },
    )

    def handle(self, outcome: Any, event: TriggerEvent = EVENT) -> Deferred[None]:
        def on_message(message: Message, event: TriggerEvent) -> Any:
            self.message = message
            if isinstance(outcome, Exception):
                return fail(outcome)
            return outcome

        self.plugin.on_message = on_message
        return self.dispatcher.dispatch(event)

    def test_a_message(self) -> None:
        self.successResultOf(self.handle(None))
        message = self.message
        self.assertEqual(message.data, {"order": 17})
        self.assertEqual((message.subject, message.stream, message.sequence), ("orders.new", "O", 4))
        self.assertEqual((message.delivered, dict(message.headers)), (2, {"A": "b"}))

    def test_bytes(self) -> None:
        self.handle(None, TriggerEvent("nats", "t", "/w==", {"payload_encoding": "base64"}))
        self.assertEqual(self.message.data, b"\xff")

    def test_its_results_are_reported(self) -> None:
        for outcome in (TaskResult("a", 2, "x"), [TaskResult("a", 2, "x")]):
            self.successResultOf(self.handle(outcome))
            self.assertEqual(self.reports.accepted.pop(), TaskResult("a", 2, "x"))

    def test_what_is_no_result_is_said(self) -> None:
        with capturedLogs() as logs:
            self.successResultOf(self.handle("a text"))
        self.assertEqual(
            [formatEvent(log) for log in logs],
            [
                "t: result 0 of the plugin's response is dropped: it is 'a text', expected a task result "
                "with task_id and status"
            ],
        )

    def test_one_that_fails_is_tried_again_and_then_its_trigger_s(self) -> None:
        with capturedLogs():
            done = self.handle(ValueError("x"))
            self.assertNoResult(done)
            self.clock.advance(1)
        self.failureResultOf(done, ValueError)
        self.assertEqual(self.dispatcher.failed, 1)

    def test_cancelled_by_its_trigger(self) -> None:
        cancelled: list[Any] = []
        done = self.handle(Deferred(cancelled.append))
        with capturedLogs():
            done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.assertNoResult(Deferred())


class StartTests(TaskRunnerTestCase):
    QUEUE = NatsSettings("q", "nats://h", "S", "c", "s.a", task_retries=0)
    TIMER = TimerSettings("t", Cron.parse("0 * * * * *"), timeout=60.0, task_concurrency=3)

    def make(self, *triggers: Any, adapter: AdapterSettings | None = None) -> Any:
        cfg = Config(adapter=adapter or AdapterSettings(), triggers=triggers)
        return build.task_runner(cfg, self.adapter, self.context)

    def test_a_trigger_that_the_plugin_has_no_method_for(self) -> None:
        mistake = self.assertRaises(StartupError, self.make, self.TIMER, self.QUEUE)
        self.assertEqual(
            str(mistake),
            "triggers[1]: q is a nats trigger, and plugin 'my-plugin' has no on_message(message, event); "
            "expected it there, or no such trigger",
        )

    def test_limits(self) -> None:
        self.plugin.on_message = lambda message, event: None
        limits = self.make(self.TIMER, self.QUEUE, adapter=AdapterSettings(task_retries=2)).limits
        self.assertEqual((limits["t"].timeout, limits["t"].retries, limits["t"].slots.limit), (60.0, 2, 3))
        self.assertEqual((limits["q"].timeout, limits["q"].retries, limits["q"].slots.limit), (30.0, 0, 10))
