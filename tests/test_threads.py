"""Tests for scfd.adapter.threads: real threads, and a reactor that the test runs by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

from scfd.adapter import threads as threads_module
from scfd.adapter.native import NativeAdapter
from scfd.adapter.tasks import TaskLimits, TaskRunner
from scfd.adapter.threads import PluginThreads
from scfd.config import Config
from scfd.dispatch import Dispatcher
from scfd.errors import PluginError
from scfd.events import Task
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskStore
from scfd.function import Framework
from scfd.identity import Identity
from scfd.interfaces import IStoppable, ITaskPlugin
from scfd.status.context import Context
from scfd.status.readiness import Availability
from tests.fakes import MemoryReports
from tests.test_native import Plugin

#: Seconds in which a thread has to do anything; it takes less than a millisecond.
LIMIT = 20.0
RESPONSE = TriggerResponse((TaskResult("a", 2),))


class ThreadReactor(Clock):
    """A clock to which threads hand calls, made when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        self._calls.put((function, arguments))

    def next_call(self) -> None:
        """Wait for a thread to hand over a call, and make it."""
        function, arguments = self._calls.get(timeout=LIMIT)
        function(*arguments)


class Blocking:
    """A function that returns, or raises, when the test says so."""

    def __init__(self, outcome: Any = RESPONSE) -> None:
        self.outcome = outcome
        self.begun = threading.Event()
        self.end = threading.Event()
        self.thread = ""

    def __call__(self, *arguments: Any) -> Any:
        self.thread = threading.current_thread().name
        self.begun.set()
        assert self.end.wait(LIMIT)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class ThreadsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ThreadReactor()
        self.context = Context(self.reactor, self.reactor.seconds, availability=Availability(True))
        self.readiness, self.availability = self.context.readiness, self.context.availability
        self.threads = PluginThreads(2, self.context)
        self.addCleanup(self.threads.stop)

    def run_blocking(self, outcome: Any = RESPONSE) -> tuple[Blocking, Deferred[Any]]:
        function = Blocking(outcome)
        self.addCleanup(function.end.set)
        return function, self.threads.run(function)

    def begin(self, outcome: Any = RESPONSE) -> tuple[Blocking, Deferred[Any]]:
        function, called = self.run_blocking(outcome)
        self.assertTrue(function.begun.wait(LIMIT))
        return function, called

    def finish(self, function: Blocking) -> None:
        function.end.set()
        self.reactor.next_call()


class PluginThreadsTests(ThreadsTestCase):
    def test_a_call_and_its_value(self) -> None:
        function, called = self.begin()
        self.assertNoResult(called)
        self.assertTrue(function.thread.startswith("scfd-plugin"), function.thread)
        self.finish(function)
        self.assertIs(self.successResultOf(called), RESPONSE)

    def test_whatever_it_raises(self) -> None:
        for error in (ValueError("no"), SystemExit(3)):
            with self.subTest(error=error):
                function, called = self.begin(error)
                self.finish(function)
                failure = self.failureResultOf(called)
                self.assertIs(failure.value, error)
                self.assertIn("in __call__", failure.getTraceback())

    def test_as_many_at_once_as_there_are_threads(self) -> None:
        first, _ = self.begin()
        self.begin()
        third, called = self.run_blocking()
        self.assertFalse(third.begun.wait(0))
        self.finish(first)
        self.assertTrue(third.begun.wait(LIMIT))
        self.finish(third)
        self.successResultOf(called)

    def test_one_that_waits_and_is_given_up_is_never_made(self) -> None:
        first, _ = self.begin()
        second, _ = self.begin()
        third, called = self.run_blocking()
        called.cancel()
        self.assertEqual(
            str(self.failureResultOf(called, PluginError).value), "none of its 2 threads was free"
        )
        self.reactor.next_call()
        self.finish(first)
        self.finish(second)
        self.assertFalse(third.begun.wait(0))
        self.assertEqual(self.threads.stuck, 0)

    def test_one_that_has_begun_is_stuck_until_it_returns(self) -> None:
        function, called = self.begin(ValueError("too late for anybody"))
        with capturedLogs() as logged:
            called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertEqual((self.threads.stuck, self.availability.available), (1, True))
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["1 of 2 threads are at work on an event that was given up"],
        )
        self.finish(function)
        self.assertEqual(self.threads.stuck, 0)

    def test_all_are_stuck(self) -> None:
        calls = [self.begin(), self.begin()]
        for _, called in calls:
            called.cancel()
            self.failureResultOf(called, CancelledError)
        self.assertFalse(self.availability.available)
        self.assertEqual(
            [problem.reason for problem in self.readiness.problems()], ["all its 2 threads are stuck"]
        )
        self.finish(calls[0][0])
        self.assertEqual((self.availability.available, self.readiness.problems()), (True, []))

    def test_too_many_wait(self) -> None:
        self.patch(threads_module, "LONGEST_QUEUE", 1)
        self.begin()
        self.begin()
        self.run_blocking()
        self.assertEqual(
            str(self.failureResultOf(self.threads.run(print), PluginError).value),
            "1 calls wait for one of its 2 threads already",
        )


class BlockingPluginTests(ThreadsTestCase):
    """A plugin whose calls are made in threads."""

    def setUp(self) -> None:
        super().setUp()
        self.plugin: Any = Plugin()
        alsoProvides(self.plugin, IStoppable)
        framework = Framework(Config(), Identity("node-abc", "v1"), TaskStore())
        self.adapter = NativeAdapter(self.plugin, framework, self.threads, self.context)
        started = self.adapter.startService()
        self.reactor.next_call()
        self.successResultOf(started)

    def on_trigger(self, outcome: Any = RESPONSE) -> tuple[Blocking, Deferred[TriggerResponse]]:
        function = self.plugin.on_trigger = Blocking(outcome)
        self.addCleanup(function.end.set)
        called = self.adapter.on_trigger(TriggerEvent("timer", "t", timeout=2.0))
        self.assertTrue(function.begun.wait(LIMIT))
        return function, called

    def test_an_event(self) -> None:
        function, called = self.on_trigger()
        self.finish(function)
        self.assertIs(self.successResultOf(called), RESPONSE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_value_that_only_the_reactor_could_wait_for(self) -> None:
        function, called = self.on_trigger(Deferred())
        self.finish(function)
        self.assertEqual(
            str(self.failureResultOf(called, PluginError).value),
            "returned a Deferred; a plugin that blocks returns plain values",
        )

    def test_what_would_end_the_process_is_that_events_failure(self) -> None:
        function, called = self.on_trigger(SystemExit(3))
        self.finish(function)
        self.assertEqual(
            str(self.failureResultOf(called, PluginError).value), "on_trigger raised SystemExit: 3"
        )

    def test_one_that_takes_too_long(self) -> None:
        function, called = self.on_trigger()
        self.reactor.advance(2)
        self.assertEqual(str(self.failureResultOf(called, PluginError).value), "no response after 2 s")
        self.assertEqual(self.threads.stuck, 1)
        self.finish(function)
        self.assertEqual(self.threads.stuck, 0)

    def test_the_node_stops_with_all_threads_stuck_and_calls_waiting(self) -> None:
        stuck = [self.on_trigger()[1] for _ in range(2)]
        waiting = self.adapter.on_trigger(TriggerEvent("timer", "t"))
        self.reactor.advance(2)
        for called in stuck:
            self.failureResultOf(called, PluginError)
        self.successResultOf(self.adapter.stopService())
        self.reactor.next_call()
        self.assertEqual(str(self.failureResultOf(waiting, PluginError).value), "the node is stopping")
        self.assertEqual([name for name, *_ in self.plugin.journal], ["init"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_is_called_in_a_thread_as_well(self) -> None:
        stopped = self.adapter.stopService()
        self.reactor.next_call()
        self.successResultOf(stopped)
        self.assertEqual([name for name, *_ in self.plugin.journal], ["init", "stop"])


class StuckThreadsTests(ThreadsTestCase):
    """Tasks of a blocking plugin of two threads, one of which does not come back."""

    def setUp(self) -> None:
        super().setUp()
        self.tasks, self.reports = TaskStore(), MemoryReports()
        self.does = {name: Blocking(name) for name in ("hangs", "a", "b", "c")}
        for function in self.does.values():
            self.addCleanup(function.end.set)
        self.tasks.replace([{"task_id": name} for name in self.does])
        plugin = StuckPlugin(self.does)
        framework = Framework(Config(), Identity("node-abc", "v1"), self.tasks)
        adapter: Any = NativeAdapter(plugin, framework, self.threads, self.context)
        self.limits = TaskLimits(5.0, 0, DeferredSemaphore(2))
        self.runner = TaskRunner(adapter, {"t": self.limits}, self.context)
        dispatcher = Dispatcher(self.runner, framework.identity, self.tasks, self.reports, self.context)
        self.runner.report = dispatcher.report_early
        self.fire = lambda timeout=None: dispatcher.dispatch(TriggerEvent("timer", "t", timeout=timeout))

    def advance(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.reactor.advance(0)

    def begun(self, name: str) -> None:
        self.assertTrue(self.does[name].begun.wait(LIMIT), name)

    def finish_task(self, name: str) -> None:
        self.begun(name)
        self.finish(self.does[name])
        self.advance(0)

    def until_one_is_stuck(self, timeout: float | None = None) -> Deferred[None]:
        """At 5 s: `hangs` was given up, `b` runs since 4 s, and `c` waits."""
        ended = self.fire(timeout)
        self.advance(4)
        self.finish_task("a")
        self.begun("b")
        self.advance(1)
        return ended

    def results(self) -> dict[str, int]:
        return {result.task_id: int(result.status) for result in self.reports.accepted}

    def test_waiting_for_a_thread_takes_nothing_of_a_tasks_time(self) -> None:
        ended = self.until_one_is_stuck()
        self.assertEqual((self.results(), self.threads.stuck), ({"a": 2, "hangs": 4}, 1))
        self.assertEqual(self.readiness.count("warning"), 1)
        self.advance(3)
        self.finish_task("b")
        self.advance(4)
        self.finish_task("c")
        self.successResultOf(ended)
        self.assertEqual(self.results(), {"a": 2, "hangs": 4, "b": 2, "c": 2})
        self.finish_task("hangs")
        self.assertEqual(self.readiness.count("warning"), 0)

    def test_the_time_of_the_event_counts(self) -> None:
        ended = self.until_one_is_stuck(timeout=6.0)
        self.advance(1)
        self.finish_task("b")
        failure = self.failureResultOf(ended, PluginError)
        self.assertIn("1 tasks were not begun, since the event's 6 s are over", str(failure.value))
        self.assertFalse(self.does["c"].begun.is_set())

    def test_the_last_thread_is_stuck_too(self) -> None:
        """What waits is left for when one comes back."""
        ended = self.until_one_is_stuck()
        self.advance(4)
        self.assertEqual(self.results(), {"a": 2, "hangs": 4, "b": 4})
        self.assertFalse(self.availability.available)
        self.finish_task("hangs")
        self.finish_task("c")
        self.successResultOf(ended)
        self.assertEqual(self.results()["c"], 2)
        self.finish_task("b")


@implementer(ITaskPlugin)
class StuckPlugin:
    name = "my-plugin"

    def __init__(self, does: dict[str, Blocking]) -> None:
        self.does = does

    def init(self, framework: Any) -> None:
        pass

    def on_task(self, task: Task, event: TriggerEvent) -> Any:
        return self.does[task.task_id]()
