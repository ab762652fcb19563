"""NATS triggers and a real nats-server where something is odd: large messages, unreadable ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from scfd.deferreds import from_asyncio
from scfd.events.event import TriggerEvent
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
