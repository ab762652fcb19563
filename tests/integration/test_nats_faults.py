"""NATS triggers and a real nats-server where something is odd: large messages, unreadable ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from scfd.deferreds import from_asyncio
from scfd.errors import PluginError
from scfd.events.event import TriggerEvent
from scfd.triggers.nats import advisories
from tests.integration.daemon import until
from tests.integration.test_nats import NatsCase, Node, pause

MIB = 1024 * 1024


class LargeMessageTests(NatsCase):
    async def publish_large(self, count: int, size: int) -> None:
        for _ in range(count):
            await from_asyncio(self.js.publish("s.a", b"x" * size))

    def held(self, node: Node) -> int:
        service: Any = node.services["nats trigger q"]
        held: int = service._deliveries.held_bytes
        return held

    async def test_held_messages_are_bounded_in_bytes(self) -> None:
        """The plugin is stuck: what one node takes of 200 MiB is bounded, and all are handled in the end."""
        node = self.node(concurrency=200, max_deliver=1)
        gates: list[Deferred[None]] = []
        most = 0

        def act(event: TriggerEvent) -> Deferred[None] | None:
            nonlocal most
            most = max(most, self.held(node))
            if released:
                return None
            gates.append(Deferred())
            return gates[-1]

        released = False
        node.act = act
        await self.bound(node)
        await self.publish_large(200, MIB - 100)
        await self.so(lambda: len(gates) >= 32, "a good part is here")
        await pause(1.5)
        waiting = (await self.consumer()).num_pending
        self.assertGreaterEqual(waiting, 200 - 64)
        self.assertLessEqual(self.held(node), 64 * MIB)
        self.assertEqual(node.problems, [])
        self.assertGreater(node.metrics.nats_held_bytes.labels("q")._value.get(), 30 * MIB)
        released = True
        for gate in gates:
            gate.callback(None)
        await self.settled()
        self.assertEqual(node.count("ack"), 200)
        self.assertEqual(len(node.events), 200)
        self.assertLessEqual(most, 64 * MIB)
        self.assertEqual(self.held(node), 0)
        self.assertEqual(node.metrics.nats_rebinds.labels("q")._value.get(), 0)

    async def check_all_come(self, node: Node) -> None:
        await self.bound(node)
        await self.publish_large(3, 5000)
        await self.publish(*range(20))
        await self.publish_large(3, MIB - 100)
        await self.so(lambda: node.count("ack") == 26, "all")
        self.assertEqual((len(node.events), node.metrics.nats_rebinds.labels("q")._value.get()), (26, 0))

    async def test_messages_that_are_larger_than_the_bound(self) -> None:
        await self.check_all_come(self.node(max_held_bytes=1000, concurrency=4))

    async def test_messages_that_are_larger_than_the_consumers_max_bytes(self) -> None:
        config = {"durable_name": "c", "ack_policy": "explicit", "max_bytes": 1000}
        await self.api("CONSUMER.CREATE.S.c", {"stream_name": "S", "config": config})
        await self.check_all_come(self.node(concurrency=4))


class GivenUpTests(NatsCase):
    """Messages that some other node had at their last delivery, and never acknowledged."""

    async def lose(self) -> None:
        """Take a message as a node does that is killed then."""
        inbox = self.client.new_inbox()
        subscription = await from_asyncio(self.client.subscribe(inbox))
        await from_asyncio(self.client.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b"1", reply=inbox))
        await from_asyncio(subscription.next_msg())

    async def a_lost_message(self, *nodes: Node) -> None:
        for node in nodes:
            await self.bound(node)
            node.availability.set(False)
        await pause(0.2)
        await self.publish("lost")
        await self.lose()

    async def test_one_node_publishes_it(self) -> None:
        await self.add_stream("D", "dead.>")
        settings: dict[str, Any] = {"max_deliver": 1, "ack_wait": 0.5, "dead_letter": "dead.q"}
        nodes = self.node(**settings), self.node(**settings)
        await self.a_lost_message(*nodes)
        await self.so(lambda: sum(node.count("dead letter") for node in nodes), "a letter")
        await pause(0.3)
        self.assertEqual(sum(node.count("dead letter") for node in nodes), 1)
        self.assertEqual((await from_asyncio(self.js.get_msg("D", 1))).data, b'"lost"')

    async def test_without_a_dead_letter_it_is_counted(self) -> None:
        node = self.node(max_deliver=1, ack_wait=0.5)
        await self.a_lost_message(node)
        await self.so(lambda: node.count("given up"), "counted")

    async def test_one_that_failed_here_is_counted_once(self) -> None:
        def act(event: TriggerEvent) -> None:
            raise PluginError("no")

        node = self.node(max_deliver=1)
        node.act = act
        await self.bound(node)
        await self.publish("poison")
        await self.so(lambda: node.count("exhausted"), "failed")
        await pause(0.3)
        self.assertEqual((node.count("exhausted"), node.count("given up")), (1, 0))

    async def test_a_stream_of_advisories_that_is_made_later(self) -> None:
        self.patch(advisories, "STREAM_INTERVAL", 0.5)
        await self.add_stream("D", "dead.>")
        node = self.node(max_deliver=1, ack_wait=0.5, dead_letter="dead.q")
        await self.bound(node)
        await self.add_stream("A", "$JS.EVENT.ADVISORY.>")

        async def is_read() -> Any:
            return (await from_asyncio(self.js.stream_info("A"))).state.consumer_count

        await until(is_read, "the node's consumer")
        await self.a_lost_message(node)
        await self.so(lambda: node.count("dead letter"), "a letter")

        async def are_acknowledged() -> bool:
            info = await from_asyncio(self.js.consumer_info("A", "scfd-S-c"))
            return (info.num_pending, info.num_ack_pending) == (0, 0)

        await until(are_acknowledged, "the advisory acknowledged")
