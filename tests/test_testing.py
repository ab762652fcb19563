"""Tests for scfd.testing: the node, its clock and its faults."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from time import sleep
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from scfd.errors import ConfigError, StartupError
from scfd.events import Task
from scfd.events.event import TriggerEvent
from scfd.function import TaskPlugin
from scfd.testing import Node, TestingError, clock
from tests.nodes import HOURS, MINUTES, BlockingPlugin, NodeTestCase, Plugin, queue, timer, well


class TimeTests(NodeTestCase):
    def test_a_day_a_redelivery_and_an_outage_in_less_than_a_second(self) -> None:
        def act(event: TriggerEvent) -> Any:
            if event.name == "minutes":
                return None  # a result a minute would be most of the work
            return Deferred() if event.metadata.get("num_delivered") == "1" else well(event)

        began = time.process_time()
        node = self.node(act, MINUTES, HOURS, queue("q", timeout=60), tasks=[{"task_id": "t"}])
        node.advance(hours=11)
        node.control_plane.down()
        node.advance(hours=1)
        self.assertEqual(node.problems[0][:14], "control plane:")
        self.assertEqual(len(node.results), 11)
        node.control_plane.up()
        node.publish("orders.1", {"id": 1})
        node.advance(hours=12)
        node.close()
        self.assertLess(time.process_time() - began, 1.0)
        fires = [event for event in node.events if event.type == "timer"]
        self.assertEqual(len(fires), 24 * 61)
        deliveries = [event.metadata["num_delivered"] for event in node.events if event.type == "nats"]
        self.assertEqual(deliveries, ["1", "2"])
        self.assertEqual(len(node.results), 24 + 1)
        self.flushLoggedErrors()

    def test_a_day_with_a_result_a_minute(self) -> None:
        node = self.node(well, MINUTES, tasks=[{"task_id": "t"}])
        node.advance(days=1)
        self.assertEqual(len(node.results), 24 * 60)
        self.assertEqual(node.results[-1].at, "2026-01-06T00:00:00Z")

    def test_fires_are_at_their_moments(self) -> None:
        node = self.node(well, timer("noon", "0 30 12 * * * *", timezone="Asia/Shanghai"), zone="UTC")
        node.advance(days=2)
        moments = [event.metadata["fire_time"] for event in node.events]
        self.assertEqual(moments, ["2026-01-05T04:30:00Z", "2026-01-06T04:30:00Z"])

    def test_each_second_where_a_timer_wants_it(self) -> None:
        node = self.node(well, timer("seconds", "* * * * * * *"))
        node.advance(minutes=2)
        self.assertEqual(len(node.events), 120)
        self.assertEqual([line for line in node.log if " warn " in line], [])

    def test_asyncio_and_twisted_share_the_clock(self) -> None:
        seen: list[Any] = []

        async def act(event: TriggerEvent) -> None:
            from twisted.internet import reactor

            await asyncio.sleep(10)
            seen.append(node.now.minute)
            await deferLater(reactor, 50, lambda: None)
            seen.append(node.now.minute)
            try:
                await asyncio.wait_for(asyncio.sleep(3600), 60)
            except asyncio.TimeoutError:
                seen.append(node.now.minute)

        node = self.node(act, timer("once", "0 0 1 * * * *"))
        node.advance(hours=1, minutes=5)
        self.assertEqual(seen, [0, 1, 2])

    def test_a_looping_call_of_the_plugin(self) -> None:
        calls: list[float] = []
        plugin = Plugin()

        def init(framework: Any) -> None:
            LoopingCall(lambda: calls.append(framework.clock.seconds())).start(60)

        plugin.init = init  # type: ignore[method-assign]
        node = self.node(plugin)
        node.advance(minutes=10)
        self.assertEqual(calls, [60.0 * minute for minute in range(11)])

    def test_time_waits_for_threads(self) -> None:
        seen: list[Any] = []

        def slowly(value: str) -> str:
            time.sleep(0.02)
            return value

        async def act(event: TriggerEvent) -> None:
            before = node.now
            seen.append(await deferToThread(slowly, "twisted"))
            seen.append(await asyncio.to_thread(slowly, "asyncio"))
            seen.append(node.now - before)

        node = self.node(act, MINUTES)
        node.advance(minutes=1)
        self.assertEqual(seen, ["twisted", "asyncio", timedelta(0)])

    def test_a_plugin_that_blocks_has_threads(self) -> None:
        def act(event: TriggerEvent) -> Any:
            time.sleep(0.01)
            return well(event)

        node = self.node(BlockingPlugin(act), MINUTES, tasks=[{"task_id": "t"}])
        node.advance(minutes=3)
        self.assertEqual([result.at[11:16] for result in node.results], ["00:01", "00:02", "00:03"])

    def test_tasks_of_a_plugin_that_blocks(self) -> None:
        class Sleepy(TaskPlugin):
            name = "sleepy"
            blocking = True

            def on_task(self, task: Task, event: TriggerEvent) -> str:
                time.sleep(0.01)
                return "slept"

        node = Node(Sleepy(), {"triggers": [MINUTES]}, tasks=[{"task_id": "a"}, {"task_id": "b"}])
        self.addCleanup(node.close)
        node.advance(minutes=2)
        results = sorted((one.task_id, one.at[14:16], one.result) for one in node.results)
        self.assertEqual(results, [(name, at, "slept") for name in "ab" for at in ("01", "02")])

    def test_there_are_no_sockets(self) -> None:
        async def act(event: TriggerEvent) -> None:
            await asyncio.open_connection("127.0.0.1", 1)

        self.node(act, MINUTES).advance(minutes=1)
        [failure] = self.flushLoggedErrors(TestingError)
        self.assertIn("a node in memory has no sockets; expected a fake", failure.getErrorMessage())

    def test_a_frozen_process_misses_fires(self) -> None:
        node = self.node(well, timer("late", "0 * * * * * *", misfire="once"))
        node.freeze(minutes=5, seconds=30)
        self.assertEqual([event.metadata["missed_fires"] for event in node.events], ["5"])
        self.assertTrue(any("the process stood still" in line for line in node.log), node.log)
        node.advance(minutes=1)
        self.assertEqual(len(node.events), 2)


class CronTests(NodeTestCase):
    def test_six_fields_are_said_at_the_start(self) -> None:
        with capturedLogs() as events:
            self.node(
                well, timer("t", "0 */5 * * * *", timezone="UTC"), MINUTES, start="2026-01-01T01:00:00Z"
            )
        said = [formatEvent(event) or "" for event in events if "six fields" in (formatEvent(event) or "")]
        self.assertEqual(len(said), 2, said)
        self.assertIn("the Go framework as minute to year, '0 0 */5 * * * *'", said[0])
        here, there = said[1].partition(": the next fires are ")[2].split("; the Go framework's would be ")
        self.assertEqual(here.split(", ")[1], "2026-01-01T01:10:00+00:00")
        self.assertEqual(there.split(", ")[1], "2026-01-01T10:00:00+00:00")


class CallTests(NodeTestCase):
    def test_a_coroutine_takes_its_time(self) -> None:
        async def price(symbol: str) -> str:
            await asyncio.sleep(30)
            return f"price of {symbol}"

        node = self.node()
        self.assertEqual(node.call(price, "BTC"), "price of BTC")
        self.assertEqual(node.now.second, 30)
        self.assertEqual(node.call(lambda: 7), 7)
        self.assertRaises(ZeroDivisionError, node.call, lambda: 1 / 0)
        error = self.assertRaises(TestingError, node.call, Deferred)
        self.assertIn("no result after a day of virtual time", str(error))


class FireTests(NodeTestCase):
    def test_a_timer(self) -> None:
        node = self.node(well, HOURS, tasks=[{"task_id": "a"}, {"task_id": "b"}])
        node.fire("hours")
        self.assertEqual([one.task_id for one in node.results], ["a", "b"])
        node.fire("hours", tasks=["b"])
        self.assertEqual([one.task_id for one in node.results[2:]], ["b"])

    def test_a_message(self) -> None:
        node = self.node(well, queue("q"))
        node.fire("q", {"id": 1})
        self.assertEqual([event.payload for event in node.events], [{"id": 1}])


class ControlPlaneTests(NodeTestCase):
    def test_tasks_arrive_at_once(self) -> None:
        node = self.node(well, MINUTES)
        node.set_tasks([{"task_id": "a", "task_params": {"symbol": "X"}}, {"task_id": "b"}])
        node.advance(minutes=1)
        self.assertEqual(
            [(one.task_id, one.status, one.result) for one in node.results],
            [("a", 2, "well"), ("b", 2, "well")],
        )
        self.assertEqual(node.events[0].tasks[0]["task_params"], '{"symbol": "X"}')

    def test_what_it_refuses_is_put_aside(self) -> None:
        node = self.node(well, MINUTES, tasks=[{"task_id": "a"}, {"task_id": "b"}])
        node.control_plane.refuse("a")
        node.advance(minutes=1, seconds=40)
        self.assertEqual([one.task_id for one in node.results], ["b"])
        self.assertEqual([one.task_id for one in node.refused], ["a"])

    def test_slow_and_with_errors(self) -> None:
        node = self.node(well, MINUTES, tasks=[{"task_id": "a"}])
        node.control_plane.slow(3)
        node.advance(minutes=1, seconds=2)
        self.assertEqual(node.results, [])
        node.advance(seconds=2)
        self.assertEqual(len(node.results), 1)
        node.control_plane.respond_with(503)
        node.advance(minutes=10)
        self.assertEqual(len(node.results), 1)
        node.control_plane.up()
        node.advance(minutes=10)
        self.assertEqual(len(node.results), 21)

    def test_another_version_ends_the_node(self) -> None:
        node = self.node(well, MINUTES)
        node.control_plane.want_version("v2.0.0")
        node.advance(minutes=10)
        self.assertEqual(node.exit_status, 3)

    def test_a_generation_that_wants_signatures(self) -> None:
        sections = {
            "heartbeat": {"auth": {"access_key": "ak", "secret_key": "sk"}},
            "dev": {"control_plane": {"listen": "127.0.0.1:18202", "protocol": "3"}},
        }
        node = self.node(well, MINUTES, tasks=[{"task_id": "a"}], sections=sections)
        node.advance(minutes=1)
        self.assertEqual([one.task_id for one in node.results], ["a"])


class MessageTests(NodeTestCase):
    def test_a_message_is_there_at_once(self) -> None:
        node = self.node(well, queue("q"))
        self.assertEqual(node.publish("orders.new", {"id": 7}, headers={"Kind": "test"}), 1)
        [event] = node.events
        self.assertEqual(event.payload, {"id": 7})
        self.assertEqual(event.metadata["header.Kind"], "test")

    def test_failures_end_as_dead_letters(self) -> None:
        node = self.node(well, queue("q", max_deliver=3, backoff=[1, 5], dead_letter="dead.orders"))
        node.fail_next(ValueError("no such symbol"), times=3)
        node.publish("orders.new", b"x")
        node.advance(seconds=1)
        self.assertEqual(len(node.events), 2)
        node.advance(seconds=5)
        [letter] = node.dead_letters
        self.assertEqual((letter.subject, letter.data), ("dead.orders", b"x"))
        self.assertIn("no such symbol", letter.headers["Scfd-Reason"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)

    def test_the_same_id_twice_is_one_message(self) -> None:
        node = self.node(well, queue("q"))
        for _ in range(2):
            self.assertEqual(node.publish("orders.a", "x", {"Nats-Msg-Id": "1"}), 1)
        self.assertEqual(len(node.events), 1)
        node.advance(minutes=2)
        self.assertEqual(node.publish("orders.a", "x", {"Nats-Msg-Id": "1"}), 2)

    def test_a_server_that_is_away(self) -> None:
        node = self.node(well, queue("q", deliver="all"))
        node.nats.down()
        node.advance(minutes=1)
        self.assertIn("the server is down", node.problems[0])
        node.publish("orders.a", "x")
        self.assertEqual(node.events, [])
        node.nats.up()
        node.advance(seconds=10)
        self.assertEqual(len(node.events), 1)
        self.assertEqual(node.problems, [])

    def test_a_message_in_work_is_kept_by_extensions(self) -> None:
        async def act(event: TriggerEvent) -> None:
            await asyncio.sleep(3600)

        node = self.node(act, queue("q", timeout=7200, ack_wait=30))
        node.publish("orders.a", "x")
        node.advance(hours=2)
        self.assertEqual(len(node.events), 1)


class MistakeTests(NodeTestCase):
    def expect(self, words: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        error = self.assertRaises(TestingError, function, *arguments, **named)
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))

    def test_the_plugin(self) -> None:
        self.expect("expected an object, not its class: Node(Plugin())", Node, Plugin)
        self.expect("expected the plugin, not its module", Node, time)
        error = self.assertRaises(StartupError, Node, object())
        self.assertIn("expected one of them", str(error))

    def test_the_config(self) -> None:
        self.expect("expected a dict of sections", Node, Plugin(), 7)
        self.expect(
            "adapter.http: an HTTP plugin is a process of its own",
            Node,
            None,
            {"adapter": {"http": {"url": "http://127.0.0.1:1"}}},
        )
        error = self.assertRaises(ConfigError, self.node, well, timer("m", "0 * *"))
        self.assertIn("config: triggers[0].settings.cron: ", str(error))
        self.expect("expected a time with its zone", Node, Plugin(), start="2026-01-05")

    def test_time(self) -> None:
        node = self.node()
        self.expect("time can't go back; expected 0 or more", node.advance, seconds=-1)
        self.expect("expected a timedelta, or seconds=", node.advance, 60)

    def test_a_subject_of_no_stream(self) -> None:
        node = self.node(well, queue("q"))
        self.expect("no stream takes it; expected a subject of orders.>", node.publish, "other.x")
        self.expect("there are no streams", self.node().publish, "other.x")
        self.expect("expected up to 1048576", node.publish, "orders.x", b"x" * 2_000_000)

    def test_a_closed_node(self) -> None:
        node = self.node()
        node.close()
        node.close()
        for use in (
            lambda: node.advance(seconds=1),
            lambda: node.set_tasks([]),
            lambda: node.publish("orders.x"),
        ):
            self.expect("the node is closed; expected a new Node", use)

    def test_tasks(self) -> None:
        self.expect("task_id: text is expected", self.node().set_tasks, [{"id": 1}])
        for wrong in ({"task_id": "a"}, ["a"], "a"):
            self.expect("expected a list of tasks, such as", self.node().set_tasks, wrong)

    def test_sleeping(self) -> None:
        node = self.node(lambda event: time.sleep(5), MINUTES)
        self.expect("test_testing.py:", node.advance, minutes=1)
        self.assertEqual(len(self.flushLoggedErrors(TestingError)), 1)
        self.assertGreater(node.metric("scfd_events_total", trigger="minutes", outcome="failed"), 0)

    def test_holding_up_in_another_way(self) -> None:
        self.patch(clock, "HELD_UP", 0.01)
        node = self.node(lambda event: sleep(0.02), MINUTES)
        node.advance(minutes=1)
        self.assertTrue(any("the plugin held up the node for 0.0 s" in line for line in node.log), node.log)

    def test_a_thread_that_does_not_end(self) -> None:
        self.patch(clock, "PATIENCE", 0.05)
        gate = threading.Event()
        self.addCleanup(gate.set)

        def act(event: TriggerEvent) -> None:
            gate.wait(10)

        node = self.node(BlockingPlugin(act), timer("m", "0 * * * * * *", timeout=5))
        node.advance(minutes=1, seconds=10)
        self.assertTrue(any("no response after 5 s" in line for line in node.log), node.log)
        self.assertTrue(any("virtual time goes on without them" in line for line in node.log), node.log)

    def test_speaking_to_the_node_from_inside(self) -> None:
        node: Node

        def act(event: TriggerEvent) -> None:
            node.advance(seconds=1)

        node = self.node(act, MINUTES)
        node.advance(minutes=1)
        [failure] = self.flushLoggedErrors(TestingError)
        self.assertIn("a plugin can't call advance()", failure.getErrorMessage())

    def test_a_plugin_that_does_not_start(self) -> None:
        plugin = Plugin()

        def init(framework: Any) -> None:
            raise StartupError("no key")

        plugin.init = init  # type: ignore[method-assign]
        error = self.assertRaises(StartupError, Node, plugin)
        self.assertEqual(str(error), "plugin 'tested': no key")

    def test_an_unknown_trigger(self) -> None:
        self.expect("fire('x'): expected one of minutes, q", self.node(well, MINUTES, queue("q")).fire, "x")

    def test_an_unknown_metric(self) -> None:
        self.expect("metric('scfd_nothing'): there is none", self.node().metric, "scfd_nothing")


class InsideAReactorTests(TestCase):
    """A test that returns a Deferred runs inside the real reactor's loop."""

    async def test_a_node_there(self) -> None:
        from twisted.internet import reactor

        await deferLater(reactor, 0, lambda: None)
        self.live_an_hour()
        await deferLater(reactor, 0, lambda: None)

    def test_a_node_in_a_coroutine_of_asyncio(self) -> None:
        """As pytest-asyncio has them."""

        async def test() -> None:
            await asyncio.sleep(0)
            self.live_an_hour()
            await asyncio.wait_for(asyncio.sleep(0), 1)

        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            loop.run_until_complete(test())
        finally:
            asyncio._set_running_loop(outer)

    def live_an_hour(self) -> None:
        async def act(event: TriggerEvent) -> None:
            await asyncio.sleep(1)

        with Node(Plugin(act), {"triggers": [MINUTES]}) as node:
            node.advance(hours=1)
            self.assertEqual(len(node.events), 60)
