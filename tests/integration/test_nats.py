"""NATS triggers against a real nats-server: what is delivered, what comes again, what is buried."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from scfd import build
from scfd.config import Config, NatsSettings
from scfd.deferreds import from_asyncio
from scfd.errors import PluginError
from scfd.events.event import TriggerEvent
from scfd.status.context import Context
from scfd.status.readiness import Availability
from tests.integration.daemon import reactor, until
from tests.integration.nats_servers import Server


class Node:
    """
    The NATS triggers of one node, with a plugin of the test's.

    :ivar events: every event so far, in order.
    :ivar act: called with each event, in the plugin's place.
    """

    def __init__(self, *triggers: NatsSettings) -> None:
        self.events: list[TriggerEvent] = []
        self.times: list[float] = []
        self.act: Callable[[TriggerEvent], Any] = lambda event: None
        context = Context(reactor, reactor.seconds, availability=Availability(True))
        self.metrics, self.readiness, self.availability = (
            context.metrics,
            context.readiness,
            context.availability,
        )
        self.services: dict[str, IService] = build.nats_triggers(
            Config(triggers=triggers),
            self.dispatch,
            context,
            build.Outside({}),
        )
        self._stopped = False

    def dispatch(self, event: TriggerEvent) -> Deferred[None]:
        self.events.append(event.at_node({"nodeID": "n"}, event.snapshot))
        self.times.append(reactor.seconds())
        return maybeDeferred(self.act, event).addCallback(lambda _: None)

    def start(self) -> Node:
        for service in self.services.values():
            service.startService()
        return self

    async def stop(self) -> None:
        """As a node does: drain, then stop in reverse."""
        if self._stopped:
            return
        self._stopped = True
        for name, service in self.services.items():
            if name.startswith("nats trigger"):
                await service.drain()  # type: ignore[attr-defined]
        for service in reversed(self.services.values()):
            await maybeDeferred(service.stopService)

    @property
    def bodies(self) -> list[Any]:
        return [event.payload for event in self.events]

    def count(self, outcome: str, trigger: str = "q") -> float:
        return self.metrics.messages.labels(trigger, outcome).value

    @property
    def problems(self) -> list[str]:
        return [problem.reason for problem in self.readiness.problems()]


class NatsCase(TestCase):
    timeout = 60

    def setUp(self) -> Any:
        self.server = Server(Path(self.mktemp()))
        self.addCleanup(self.server.clean_up)
        self.client = Client()
        return Deferred.fromCoroutine(self.begin())

    async def begin(self) -> None:
        await self.server.start()
        await self.connect()
        await self.add_stream()

    async def connect(self) -> None:
        async def quiet(error: Exception) -> None:
            """What matters is raised as well."""

        self.client = Client()
        await from_asyncio(self.client.connect(self.server.url, error_cb=quiet, reconnect_time_wait=0.1))  # type: ignore[arg-type]
        self.addCleanup(lambda client: from_asyncio(client.close()), self.client)
        self.js = self.client.jetstream()

    async def add_stream(self, name: str = "S", *subjects: str) -> None:
        await from_asyncio(self.js.add_stream(name=name, subjects=list(subjects) or ["s.>"]))

    def node(self, **settings: Any) -> Node:
        node = Node(self.trigger(**settings))
        self.addCleanup(node.stop)
        return node.start()

    def trigger(self, **settings: Any) -> NatsSettings:
        given = {
            "name": "q",
            "url": self.server.url,
            "stream": "S",
            "subject": "s.>",
            "consumer_name": "c",
            **settings,
        }
        return NatsSettings(**given)

    async def publish(self, *bodies: Any, **more: Any) -> None:
        for body in bodies:
            await from_asyncio(self.js.publish("s.a", json.dumps(body).encode(), **more))

    async def api(self, subject: str, body: Any = None) -> dict[str, Any]:
        """Ask JetStream as an operator does."""
        data = json.dumps(body).encode() if body is not None else b""
        response = await from_asyncio(self.client.request(f"$JS.API.{subject}", data, timeout=2))
        value: dict[str, Any] = json.loads(response.data)
        self.assertNotIn("error", value)
        return value

    async def consumer(self) -> Any:
        return await from_asyncio(self.js.consumer_info("S", "c"))

    async def bound(self, node: Node) -> None:
        await self.so(lambda: not node.problems, "the node is well")

    async def so(self, condition: Callable[[], Any], what: str) -> None:
        async def look() -> Any:
            return condition()

        await until(look, what)

    async def settled(self) -> None:
        """Wait until the server has nothing left to deliver, or to hear of."""

        async def look() -> bool:
            info = await self.consumer()
            return bool(info.num_pending == 0 and info.num_ack_pending == 0)

        await until(look, "nothing pending")


def pause(seconds: float) -> Awaitable[None]:
    return deferLater(reactor, seconds, lambda: None)


class DeliveryTests(NatsCase):
    async def test_messages_in_order(self) -> None:
        node = self.node()
        await self.bound(node)
        await self.publish(*range(50), headers={"Trace": "x"})
        await self.settled()
        self.assertEqual(node.bodies, list(range(50)))
        self.assertEqual(node.count("ack"), 50)
        metadata = dict(node.events[0].metadata)
        self.assertEqual(
            [
                metadata[name]
                for name in ("stream", "stream_sequence", "num_delivered", "header.Trace", "nodeID")
            ],
            ["S", "1", "1", "x", "n"],
        )

    async def test_concurrency(self) -> None:
        node = self.node(concurrency=5)
        running = most = 0

        def act(event: TriggerEvent) -> Deferred[None]:
            nonlocal running, most
            running += 1
            most = max(most, running)

            def done() -> None:
                nonlocal running
                running -= 1

            return deferLater(reactor, 0.02, done)

        node.act = act
        await self.bound(node)
        await self.publish(*range(100))
        await self.settled()
        self.assertEqual(sorted(node.bodies), list(range(100)))
        self.assertEqual(most, 5)

    async def test_a_slow_node_takes_no_more_than_it_handles(self) -> None:
        """So that other nodes get the rest, though this one would get around to it."""
        node = self.node(concurrency=2)
        gate: Deferred[None] = Deferred()
        node.act = lambda event: gate if not gate.called else None
        await self.bound(node)
        await self.publish(*range(10))
        await self.so(lambda: len(node.events) == 2, "two messages")
        await pause(0.2)
        info = await self.consumer()
        self.assertEqual((info.num_ack_pending, info.num_pending), (2, 8))
        gate.callback(None)
        await self.settled()
        self.assertEqual(node.bodies, list(range(10)))

    async def test_a_slow_handler_is_not_redelivered(self) -> None:
        node = self.node(ack_wait=1.0)
        node.act = lambda event: deferLater(reactor, 2.5, lambda: None)
        await self.bound(node)
        await self.publish("slow")
        await self.so(lambda: node.count("ack"), "handled")
        await self.settled()
        self.assertEqual(node.bodies, ["slow"])
        # Nor was it delivered again and known.
        self.assertEqual(node.metrics.redeliveries.labels("q").value, 0)

    async def test_a_confirmed_acknowledgement(self) -> None:
        node = self.node(ack="double")
        await self.bound(node)
        await self.publish(*range(20))
        await self.so(lambda: node.count("ack") == 20, "confirmed")
        self.assertEqual((await self.consumer()).ack_floor.stream_seq, 20)
        self.assertEqual(node.bodies, list(range(20)))


class FailureTests(NatsCase):
    async def test_backoff_and_then_the_dead_letter(self) -> None:
        await self.add_stream("D", "dead.>")
        node = self.node(backoff=(0.2, 0.5), max_deliver=4, dead_letter="dead.q")

        def act(event: TriggerEvent) -> None:
            raise PluginError("no such thing\n here")

        node.act = act
        await self.bound(node)
        await self.publish("poison", headers={"Trace": "x", "Nats-Msg-Id": "m1"})
        await self.settled()
        self.assertEqual([event.metadata["num_delivered"] for event in node.events], ["1", "2", "3", "4"])
        delays = [later - sooner for sooner, later in zip(node.times, node.times[1:], strict=False)]
        for delay, least in zip(delays, (0.2, 0.5, 0.5), strict=True):
            self.assertTrue(least <= delay < least + 0.4, delays)
        letter = await from_asyncio(self.js.get_msg("D", 1))
        assert letter.headers is not None
        self.assertEqual(letter.data, b'"poison"')
        self.assertEqual(letter.subject, "dead.q")
        self.assertEqual(
            {name: value for name, value in letter.headers.items() if name != "Nats-Msg-Id"},
            {
                "Trace": "x",
                "Scfd-Reason": "no such thing here",
                "Scfd-Trigger": "q",
                "Scfd-Stream": "S",
                "Scfd-Subject": "s.a",
                "Scfd-Sequence": "1",
                "Scfd-Deliveries": "4",
            },
        )
        self.assertEqual((node.count("nak"), node.count("dead letter")), (3, 1))

    async def test_a_dead_letter_that_nobody_takes(self) -> None:
        """The message is kept until somebody does, though the server would not deliver it again."""
        node = self.node(max_deliver=1, dead_letter="dead.q", ack_wait=1.0)
        failing = True

        def act(event: TriggerEvent) -> None:
            if failing:
                raise PluginError("broken")

        node.act = act
        await self.bound(node)
        await self.publish("poison")
        await self.so(
            lambda: (
                node.problems
                == [
                    "message 1 can't be published on dead.q: the server refuses: "
                    "no stream has the subject dead.q"
                ]
            ),
            "not ready",
        )
        await pause(1.5)
        self.assertEqual((await self.consumer()).num_ack_pending, 1)
        await self.add_stream("D", "dead.>")
        await self.settled()
        self.assertEqual(node.problems, [])
        self.assertEqual((await from_asyncio(self.js.get_msg("D", 1))).data, b'"poison"')
        self.assertEqual(len(node.events), 1)

    async def test_a_dead_letter_that_would_be_too_large(self) -> None:
        """It would end the connection, and that of every trigger that shares it, again and again."""
        await self.add_stream("D", "dead.>")
        node = self.node(max_deliver=1, dead_letter="dead.q")

        def act(event: TriggerEvent) -> None:
            if event.payload != "good":
                raise PluginError("broken")

        node.act = act
        await self.bound(node)
        limit = self.client.max_payload
        await from_asyncio(self.js.publish("s.a", b"x" * (limit - 450), headers={"Trace": "y" * 400}))
        await from_asyncio(self.js.publish("s.a", b"x" * (limit - 10)))
        await self.publish("good")
        await self.so(lambda: node.count("ack") == 1, "the next message is handled")
        self.assertEqual((node.count("dead letter"), node.count("exhausted"), node.problems), (1, 1, []))
        for sequence, left_out, length in ((1, "headers", limit - 450), (2, "headers, body", 0)):
            letter = await from_asyncio(self.js.get_msg("D", sequence))
            assert letter.headers is not None
            self.assertEqual(letter.headers["Scfd-Left-Out"], left_out)
            self.assertEqual(
                (letter.headers["Scfd-Sequence"], len(letter.data or b"")), (str(sequence), length)
            )

    async def test_without_a_dead_letter(self) -> None:
        node = self.node(max_deliver=2, backoff=(0.1,))

        def act(event: TriggerEvent) -> None:
            if event.payload == "poison":
                raise PluginError("broken")

        node.act = act
        await self.bound(node)
        await self.publish("poison", "good")
        await self.so(lambda: node.count("exhausted"), "given up")
        await pause(0.3)
        self.assertEqual(sorted(node.bodies), ["good", "poison", "poison"])
        self.assertEqual(node.count("ack"), 1)


class BackPressureTests(NatsCase):
    async def test_nothing_is_fetched_while_the_plugin_is_away(self) -> None:
        node = self.node(concurrency=2)
        await self.bound(node)
        await self.publish(1)
        await self.settled()
        node.availability.set(False)
        await pause(0.2)
        await self.publish(*range(2, 20))
        await pause(0.3)
        info = await self.consumer()
        self.assertEqual((info.num_pending, info.num_ack_pending), (18, 0))
        node.availability.set(True)
        await self.settled()
        self.assertEqual(node.bodies, list(range(1, 20)))
        self.assertEqual({event.metadata["num_delivered"] for event in node.events}, {"1"})

    async def test_what_waits_already_is_kept(self) -> None:
        node = self.node(ack_wait=1.0)
        await self.bound(node)
        await self.publish(*range(200))  # quick ones: from now on some wait for their turn
        await self.settled()
        gates: list[Deferred[None]] = []

        def act(event: TriggerEvent) -> Deferred[None]:
            gates.append(Deferred())
            return gates[-1]

        node.act = act
        await self.publish(*range(200, 210))
        await self.so(lambda: gates, "one under way")
        await pause(0.2)
        self.assertGreater((await self.consumer()).num_ack_pending, 1)
        node.availability.set(False)
        gates[0].callback(None)
        await pause(1.5)
        self.assertEqual(len(gates), 1)
        node.act = lambda event: None
        node.availability.set(True)
        await self.settled()
        self.assertEqual(node.bodies, list(range(210)))


class ConsumerTests(NatsCase):
    async def test_an_existing_consumer_is_updated(self) -> None:
        await from_asyncio(
            self.js.add_consumer(
                "S",
                durable_name="c",
                ack_policy="explicit",
                ack_wait=7,
                description="mine",
                deliver_policy="all",
            )
        )
        await self.publish(1)
        node = self.node(ack_wait=2.0, max_deliver=5)
        await self.bound(node)
        config = (await self.consumer()).config
        self.assertEqual((config.ack_wait, config.max_deliver, config.description), (2.0, 5, "mine"))
        await self.settled()
        self.assertEqual(node.bodies, [1])

    async def test_what_the_server_refuses_is_told(self) -> None:
        await from_asyncio(self.js.add_consumer("S", durable_name="c", ack_policy="all", ack_wait=7))
        node = self.node()
        await self.so(lambda: node.problems != ["not connected yet"], "told")
        self.assertRegex(
            node.problems[0],
            r"^consumer c of stream S has ack_policy all; expected explicit: choose another consumer_name, "
            r"or delete it$",
        )

    async def test_a_push_consumer(self) -> None:
        await from_asyncio(self.js.add_consumer("S", durable_name="c", deliver_subject="x"))
        node = self.node()
        await self.so(lambda: node.problems != ["not connected yet"], "told")
        self.assertIn("consumer c of stream S is a push consumer", node.problems[0])

    async def test_a_stream_that_is_missing_and_then_there(self) -> None:
        node = self.node(stream="T", subject="t.>")
        await self.so(lambda: node.problems != ["not connected yet"], "told")
        self.assertEqual(
            node.problems,
            ["there is no stream T; make it, or let the node make it with create_stream: true"],
        )
        await self.add_stream("T", "t.>")
        await self.bound(node)

    async def test_a_stream_that_the_node_makes(self) -> None:
        node = self.node(stream="T", subject="t.>", create_stream=True)
        await self.bound(node)
        self.assertEqual((await from_asyncio(self.js.stream_info("T"))).config.subjects, ["t.>"])


class RecoveryTests(NatsCase):
    async def test_the_consumer_is_deleted(self) -> None:
        node = self.node()
        await self.bound(node)
        await self.publish(1)
        await self.settled()
        await from_asyncio(self.js.delete_consumer("S", "c"))
        await self.publish(2)
        await self.so(lambda: node.bodies == [1, 2], "both")

    async def test_the_stream_is_made_again(self) -> None:
        before = self.node()
        await self.bound(before)
        await self.publish(0, 1)
        await self.settled()
        await before.stop()
        node = self.node()
        await self.bound(node)
        await from_asyncio(self.js.delete_stream("S"))
        await self.so(lambda: node.problems, "not ready")
        await self.add_stream()
        await self.publish(2)
        await self.so(lambda: node.bodies == [2], "what is in it now")

    async def test_the_server_is_killed(self) -> None:
        node = self.node(concurrency=4)
        node.act = lambda event: deferLater(reactor, 0.05, lambda: None)
        await self.bound(node)
        await self.publish(*range(20))
        await self.server.kill()
        await self.so(lambda: node.problems, "not ready")
        await pause(0.3)
        await self.server.start()
        await self.publish(*range(20, 40))
        await self.settled()
        self.assertEqual(sorted(set(node.bodies)), list(range(40)))
        self.assertEqual(len(node.bodies), 40)

    async def test_the_node_is_there_first(self) -> None:
        await self.server.kill()
        node = self.node()
        await self.so(lambda: any("can't connect" in problem for problem in node.problems), "told")
        await self.server.start()
        await self.bound(node)
        await self.publish(1)
        await self.settled()
        self.assertEqual(node.bodies, [1])

    async def test_a_silent_server(self) -> None:
        """One that hangs closes no connection: only that nothing is heard of it tells."""
        import signal

        node = self.node(fetch_max_wait=2.5)
        await self.bound(node)
        self.server.send(signal.SIGSTOP)
        await self.so(lambda: node.problems, "not ready")
        self.server.send(signal.SIGCONT)
        await self.bound(node)
        await self.publish(1)
        await self.settled()
        self.assertEqual(node.bodies, [1])
        self.assertGreaterEqual(node.metrics.nats_rebinds.labels("q").value, 1)


class StopTests(NatsCase):
    async def test_what_is_not_begun_is_given_back_at_once(self) -> None:
        first, second = self.node(), self.node()
        second.availability.set(False)
        await self.bound(first)
        await self.publish(*range(200))
        await self.settled()
        gate: Deferred[None] = Deferred()
        first.act = lambda event: gate
        await self.publish(*range(200, 210))
        await self.so(lambda: len(first.events) == 201, "one under way")
        await pause(0.2)
        second.availability.set(True)
        stopping = Deferred.fromCoroutine(first.stop())
        await self.so(lambda: len(second.events) == 9, "the others have the rest")
        gate.callback(None)
        await stopping
        await self.settled()
        self.assertEqual(sorted(first.bodies + second.bodies), list(range(210)))

    async def test_shared_connection(self) -> None:
        await self.add_stream("T", "t.>")
        node = Node(self.trigger(), self.trigger(name="r", stream="T", subject="t.>"))
        self.addCleanup(node.stop)
        connections = [name for name in node.services if name.startswith("nats connection")]
        self.assertEqual(connections, ["nats connection 1"])
        node.start()
        await self.bound(node)
        await node.stop()
        self.assertTrue(succeed(None).called)
