"""Tests for scfd.adapter.native."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from zope.interface import alsoProvides, implementer

from scfd.adapter.native import CALL_TIMEOUT, INIT_REMINDER, INIT_TIMEOUT, NativeAdapter
from scfd.config import Config
from scfd.errors import PluginError, StartupError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskStore
from scfd.function import Framework
from scfd.identity import Identity
from scfd.interfaces import (
    IDynamicHeartbeatContributor,
    IFunctionPlugin,
    IHeartbeatContributor,
    IStoppable,
    IWebContributor,
)
from scfd.status.context import Context

EVENT = TriggerEvent("timer", "t")
RESPONSE = TriggerResponse([TaskResult("task-001", 2)])


@implementer(IPlugin, IFunctionPlugin)
class Plugin:
    """
    Everything that a plugin may have; it provides what a test says it does.

    :ivar journal: what was called, in order.
    :ivar outcome: what each method returns, or raises.
    """

    name = "my-plugin"

    def __init__(self) -> None:
        self.journal: list[Any] = []
        self.outcome: dict[str, Any] = {}

    def _called(self, method: str, *arguments: Any) -> Any:
        self.journal.append((method, *arguments))
        outcome = self.outcome.get(method)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def init(self, framework: Any) -> Any:
        return self._called("init", framework)

    def on_trigger(self, event: TriggerEvent) -> Any:
        return self._called("on_trigger", event)

    def stop(self) -> Any:
        return self._called("stop")

    def heartbeat_extra(self) -> Any:
        return self._called("heartbeat_extra")

    def heartbeat_extra_func(self) -> Any:
        return self._called("heartbeat_extra_func")

    def resource(self) -> Any:
        return self._called("resource")


class NativeAdapterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.plugin = Plugin()
        self.clock = Clock()
        self.context = Context(self.clock)
        self.availability = self.context.availability
        self.framework = Framework(Config(), Identity("node-abc", "v1"), TaskStore())
        self.adapter = NativeAdapter(self.plugin, self.framework, None, self.context)

    def provide(self, *interfaces: Any) -> None:
        alsoProvides(self.plugin, *interfaces)

    def start(self) -> None:
        self.successResultOf(self.adapter.startService())

    def called(self) -> list[str]:
        return [name for name, *_ in self.plugin.journal]


class StartTests(NativeAdapterTestCase):
    def test_initialises_the_plugin_with_the_framework(self) -> None:
        self.start()
        self.assertEqual(self.plugin.journal, [("init", self.framework)])
        self.assertEqual(self.adapter.plugin_name, "my-plugin")

    def test_waits_for_a_deferred(self) -> None:
        ready: Deferred[None] = Deferred()
        self.plugin.outcome["init"] = ready
        started = self.adapter.startService()
        self.assertNoResult(started)
        self.assertFalse(self.availability.available)
        ready.callback(None)
        self.successResultOf(started)
        self.assertTrue(self.availability.available)

    def test_does_not_wait_for_ever(self) -> None:
        self.plugin.outcome["init"] = Deferred()
        started = self.adapter.startService()
        self.clock.advance(INIT_TIMEOUT + 1)
        failure = self.failureResultOf(started, StartupError)
        self.assertEqual(
            failure.getErrorMessage(), "plugin 'my-plugin': its init() has not ended after 300 s"
        )

    def test_says_that_it_waits(self) -> None:
        ready = self.plugin.outcome["init"] = Deferred()
        with capturedLogs() as events:
            started = self.adapter.startService()
            self.clock.pump([INIT_REMINDER] * 2)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                f"plugin my-plugin: its init() has not ended after {seconds} s; the node waits for it, 300 s "
                "at most"
                for seconds in (10, 20)
            ],
        )
        (problem,) = self.context.readiness.problems()
        self.assertEqual(
            (problem.component, problem.reason), ("plugin", "its init() has not ended after 20 s")
        )
        ready.callback(None)
        self.successResultOf(started)
        self.assertEqual((self.context.readiness.problems(), self.clock.getDelayedCalls()), ([], []))

    def test_the_plugins_own_word_about_a_mistake(self) -> None:
        self.plugin.outcome["init"] = StartupError("plugin.nats_url is missing")
        failure = self.failureResultOf(self.adapter.startService(), StartupError)
        self.assertEqual(failure.getErrorMessage(), "plugin 'my-plugin': plugin.nats_url is missing")

    def test_waits_for_a_coroutine(self) -> None:
        ready: Deferred[None] = Deferred()

        async def init() -> None:
            await ready

        self.plugin.outcome["init"] = init()
        started = self.adapter.startService()
        self.assertNoResult(started)
        ready.callback(None)
        self.successResultOf(started)

    def test_a_failure_keeps_the_node_from_starting(self) -> None:
        for outcome in (RuntimeError("no database"), fail(RuntimeError("no database"))):
            with self.subTest(outcome=outcome):
                self.plugin.outcome["init"] = outcome
                error = self.failureResultOf(self.adapter.startService(), StartupError).value
                self.assertEqual(
                    str(error),
                    "plugin 'my-plugin' could not be initialised: RuntimeError: no database",
                )
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_node_that_is_asked_to_stop_meanwhile(self) -> None:
        self.plugin.outcome["init"] = Deferred()
        started = self.adapter.startService()
        started.cancel()
        self.failureResultOf(started, CancelledError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_the_optional_parts_are_not_asked_of_a_plugin_that_does_not_provide_them(self) -> None:
        self.start()
        self.adapter.heartbeat_extra()
        self.successResultOf(self.adapter.stopService())
        self.assertEqual(self.called(), ["init"])
        self.assertIsNone(self.adapter.web_resource())


class OnTriggerTests(NativeAdapterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_a_response(self) -> None:
        self.plugin.outcome["on_trigger"] = RESPONSE
        self.assertEqual(self.successResultOf(self.adapter.on_trigger(EVENT)), RESPONSE)
        self.assertIs(self.plugin.journal[-1][1], EVENT)

    def test_none_is_no_results(self) -> None:
        self.assertEqual(self.successResultOf(self.adapter.on_trigger(EVENT)), TriggerResponse())

    def test_a_deferred(self) -> None:
        answered: Deferred[TriggerResponse] = Deferred()
        self.plugin.outcome["on_trigger"] = answered
        called = self.adapter.on_trigger(EVENT)
        self.assertNoResult(called)
        answered.callback(RESPONSE)
        self.assertEqual(self.successResultOf(called), RESPONSE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_coroutine(self) -> None:
        async def on_trigger() -> TriggerResponse:
            return RESPONSE

        self.plugin.outcome["on_trigger"] = on_trigger()
        self.assertEqual(self.successResultOf(self.adapter.on_trigger(EVENT)), RESPONSE)

    def test_what_the_plugin_raises_comes_through(self) -> None:
        for outcome in (KeyError("x"), fail(KeyError("x"))):
            self.plugin.outcome["on_trigger"] = outcome
            self.failureResultOf(self.adapter.on_trigger(EVENT), KeyError)
        self.plugin.outcome["on_trigger"] = PluginError("the exchange is closed")
        self.failureResultOf(self.adapter.on_trigger(EVENT), PluginError)

    def test_another_value_is_the_plugins_mistake(self) -> None:
        for value, name in (([], "list"), ({"task_results": []}, "dict"), ("x", "str"), (False, "bool")):
            with self.subTest(value=value):
                self.plugin.outcome["on_trigger"] = value
                error = self.failureResultOf(self.adapter.on_trigger(EVENT), PluginError).value
                self.assertEqual(
                    str(error),
                    f"on_trigger returned {name}; it should be a TriggerResponse or None, such as "
                    "TriggerResponse([TaskResult(task_id, TaskStatus.SUCCESS, 'a text')])",
                )

    def test_two_at_a_time(self) -> None:
        self.plugin.outcome["on_trigger"] = Deferred()
        self.adapter.on_trigger(EVENT)
        self.plugin.outcome["on_trigger"] = RESPONSE
        self.assertEqual(self.successResultOf(self.adapter.on_trigger(EVENT)), RESPONSE)

    def test_what_would_pass_every_handler_is_contained(self) -> None:
        for fault in (asyncio.CancelledError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
            with self.subTest(fault=fault):
                self.plugin.outcome["on_trigger"] = fault
                failure = self.failureResultOf(self.adapter.on_trigger(EVENT), PluginError)
                self.assertIn(type(fault).__name__, failure.getErrorMessage())

    def test_the_time_limit_of_a_trigger_wins(self) -> None:
        self.plugin.outcome["on_trigger"] = Deferred()
        call = self.adapter.on_trigger(TriggerEvent("timer", "t", timeout=2.0))
        self.clock.advance(2.1)
        failure = self.failureResultOf(call, PluginError)
        self.assertEqual(failure.getErrorMessage(), "no response after 2 s")

    def test_a_coroutine_that_swallows_its_end(self) -> None:
        again: Deferred[None] = Deferred()

        async def stubborn() -> None:
            with contextlib.suppress(Exception):
                await Deferred()
            await again

        self.plugin.outcome["on_trigger"] = stubborn()
        call = self.adapter.on_trigger(TriggerEvent("timer", "t", timeout=2.0))
        self.clock.advance(2.1)
        self.assertEqual(self.failureResultOf(call, PluginError).getErrorMessage(), "no response after 2 s")
        again.callback(None)

    def test_a_canceller_that_raises(self) -> None:
        def canceller(_: Deferred[None]) -> None:
            raise ZeroDivisionError

        self.plugin.outcome["on_trigger"] = Deferred(canceller)
        call = self.adapter.on_trigger(TriggerEvent("timer", "t", timeout=2.0))
        self.clock.advance(2.1)
        self.failureResultOf(call, PluginError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_call_does_not_last_for_ever(self) -> None:
        cancelled: list[object] = []
        self.plugin.outcome["on_trigger"] = Deferred(cancelled.append)
        called = self.adapter.on_trigger(EVENT)
        self.clock.advance(CALL_TIMEOUT - 1)
        self.assertNoResult(called)
        self.clock.advance(1)
        error = self.failureResultOf(called, PluginError).value
        self.assertEqual((str(error), len(cancelled)), ("no response after 900 s", 1))


class AsyncioTests(TestCase):
    """In the node: a loop runs."""

    timeout = 10

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        await deferLater(reactor, 0)
        self.plugin = Plugin()
        alsoProvides(self.plugin, IStoppable)
        framework = Framework(Config(), Identity("node-abc", "v1"), TaskStore())
        self.adapter = NativeAdapter(self.plugin, framework, None, Context(reactor))

    async def test_every_coroutine_may_await_asyncio(self) -> None:
        ended: list[str] = []

        async def work(name: str, response: Any = None) -> Any:
            await asyncio.sleep(0.001)
            ended.append(name)
            return response

        self.plugin.outcome = {"init": work("init"), "stop": work("stop"), "on_trigger": work("on", RESPONSE)}
        await self.adapter.startService()
        self.assertEqual(await self.adapter.on_trigger(EVENT), RESPONSE)
        await self.adapter.stopService()
        self.assertEqual(ended, ["init", "on", "stop"])

    async def test_the_time_limit_ends_it(self) -> None:
        cancelled: Deferred[str] = Deferred()

        async def hangs() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.callback("cancelled")
                raise

        self.plugin.outcome["on_trigger"] = hangs()
        with self.assertRaisesRegex(PluginError, "no response after 0.01 s"):
            await self.adapter.on_trigger(TriggerEvent("timer", "t", timeout=0.01))
        self.assertEqual(await cancelled, "cancelled")

    async def test_what_would_pass_every_handler_is_contained(self) -> None:
        for fault in (asyncio.CancelledError(), SystemExit(3), GeneratorExit()):

            async def work(fault: BaseException = fault) -> None:
                raise fault

            self.plugin.outcome["on_trigger"] = work()
            with self.assertRaisesRegex(Exception, f"raised {type(fault).__name__}"):
                await self.adapter.on_trigger(EVENT)


class StopTests(NativeAdapterTestCase):
    def test_stops_the_plugin_and_waits(self) -> None:
        self.provide(IStoppable)
        self.start()
        stopping: Deferred[None] = Deferred()
        self.plugin.outcome["stop"] = stopping
        stopped = self.adapter.stopService()
        self.assertEqual(self.called(), ["init", "stop"])
        self.assertNoResult(stopped)
        stopping.callback(None)
        self.successResultOf(stopped)

    def test_a_plugin_that_was_never_ready_is_not_stopped(self) -> None:
        self.provide(IStoppable)
        self.plugin.outcome["init"] = Deferred()
        self.adapter.startService()
        self.successResultOf(self.adapter.stopService())
        self.assertEqual(self.called(), ["init"])

    def test_a_failure_comes_through(self) -> None:
        self.provide(IStoppable)
        self.start()
        self.plugin.outcome["stop"] = RuntimeError("x")
        self.failureResultOf(self.adapter.stopService(), RuntimeError)


class HeartbeatTests(NativeAdapterTestCase):
    def test_static_fields_are_asked_for_once(self) -> None:
        self.provide(IHeartbeatContributor)
        self.plugin.outcome["heartbeat_extra"] = {"supported_collectors": ["kline", "symbol"]}
        self.start()
        for _ in range(2):
            self.assertEqual(self.adapter.heartbeat_extra(), {"supported_collectors": ["kline", "symbol"]})
        self.assertEqual(self.called().count("heartbeat_extra"), 1)

    def test_dynamic_fields_are_asked_for_each_time(self) -> None:
        self.provide(IDynamicHeartbeatContributor)
        self.start()
        for load in (1, 2):
            self.plugin.outcome["heartbeat_extra_func"] = {"load": load}
            self.assertEqual(self.adapter.heartbeat_extra(), {"load": load})

    def test_dynamic_fields_win(self) -> None:
        self.provide(IHeartbeatContributor, IDynamicHeartbeatContributor)
        self.plugin.outcome["heartbeat_extra"] = {"a": 1, "b": 1}
        self.plugin.outcome["heartbeat_extra_func"] = {"b": 2}
        self.start()
        self.assertEqual(self.adapter.heartbeat_extra(), {"a": 1, "b": 2})
        self.plugin.outcome["heartbeat_extra_func"] = {}
        self.assertEqual(self.adapter.heartbeat_extra(), {"a": 1, "b": 1})

    def test_a_failure_costs_the_fields_and_not_the_heartbeat(self) -> None:
        self.provide(IHeartbeatContributor, IDynamicHeartbeatContributor)
        self.plugin.outcome["heartbeat_extra"] = {"a": 1}
        self.start()
        for outcome in (RuntimeError("x"), None, 5):
            with self.subTest(outcome=outcome):
                self.plugin.outcome["heartbeat_extra_func"] = outcome
                self.assertEqual(self.adapter.heartbeat_extra(), {"a": 1})
                self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_nothing_before_the_start(self) -> None:
        self.provide(IHeartbeatContributor)
        self.assertEqual(self.adapter.heartbeat_extra(), {})


class WebTests(NativeAdapterTestCase):
    def test_the_resource_is_asked_for_once_after_init(self) -> None:
        self.provide(IWebContributor)
        resource = self.plugin.outcome["resource"] = Resource()
        self.assertIsNone(self.adapter.web_resource())
        self.start()
        self.assertIs(self.adapter.web_resource(), resource)
        self.assertEqual(self.called(), ["init", "resource"])

    def test_a_failure_keeps_the_node_from_starting(self) -> None:
        self.provide(IWebContributor)
        self.plugin.outcome["resource"] = RuntimeError("x")
        with capturedLogs() as events:
            self.failureResultOf(self.adapter.startService(), StartupError)
        self.assertEqual(formatEvent(events[0]), "plugin my-plugin could not be initialised")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
