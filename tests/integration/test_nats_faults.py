"""NATS triggers and a real nats-server where something is odd: large messages, unreadable ones."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred

from scfd.deferreds import from_asyncio
from scfd.errors import PluginError
from scfd.events.event import TriggerEvent
from scfd.triggers.nats import given_up
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
        self.assertEqual(node.metrics.nats_rebinds.labels("q").value, 0)

    async def check_all_come(self, node: Node) -> None:
        await self.bound(node)
        await self.publish_large(3, 5000)
        await self.publish(*range(20))
        await self.publish_large(3, MIB - 100)
        await self.so(lambda: node.count("ack") == 26, "all")
        self.assertEqual((len(node.events), node.metrics.nats_rebinds.labels("q").value), (26, 0))

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
        self.patch(given_up, "STREAM_INTERVAL", 0.5)
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


class OddMessageTests(NatsCase):
    """What no library would publish, by a client that writes to the socket itself."""

    async def begin(self) -> None:
        await super().begin()
        port = int(self.server.url.rpartition(":")[2])
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.addCleanup(self.socket.close)
        self.socket.sendall(b'CONNECT {"verbose": false, "headers": true}\r\n')

    def publish_odd(self, headers: bytes | None, body: bytes, subject: bytes = b"s.odd") -> None:
        if headers is None:
            self.socket.sendall(b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body))
        else:
            sizes = len(headers), len(headers) + len(body)
            self.socket.sendall(b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, *sizes, headers, body))

    async def test_they_affect_nobody_else(self) -> None:
        odd: list[tuple[bytes | None, bytes, str]] = [
            (b"NATS/1.0\r\n\r\n", b"s.odd", "headers"),
            (b"NATS/1.0", b"s.odd", "headers"),
            (b"NATS/1.0\r\nno colon\r\n\r\n", b"s.odd", "headers"),
            (b"NATS/1.0\r\n: no name\r\nA: \xff\r\n\r\n", b"s.odd", "headers"),
            (b"NATS/2.0 \xff\r\nA: b\r\n\r\n", b"s.odd", "headers"),
            (b"\r\n\r\n", b"s.odd", "headers"),
            (b"NATS/1.0 503\r\n\r\n", b"s.odd", ""),
            (b"NATS/1.0 409 Batch Completed\r\n\r\n", b"s.odd", ""),
            (None, b"s.\xff\xfe", "subject"),
            (b"NATS/1.0\r\nA: b\r\n\r\n", b"s.\xc3", "subject"),
        ]
        await self.add_stream("D", "dead.>")
        node = self.node(concurrency=4, max_deliver=1, dead_letter="dead.q")

        def act(event: TriggerEvent) -> None:
            if event.payload == "fails":
                raise PluginError("no")

        node.act = act
        await self.bound(node)
        for round_ in range(4):
            await self.publish(*range(round_ * 10, round_ * 10 + 10))
            for headers, subject, _ in odd:  # several in a row
                self.publish_odd(headers, b'"fails"' if round_ == 3 else b'"odd"', subject)
        await self.so(lambda: len(node.events) == 4 * (10 + len(odd)), "all")
        await self.settled()
        self.assertEqual([body for body in node.bodies if isinstance(body, int)], list(range(40)))
        found = [event.metadata for event in node.events if event.payload == "odd"][: len(odd)]
        unreadable = [metadata.get("header.Scfd-Unreadable", "") for metadata in found]
        self.assertEqual(unreadable, [what for *_, what in odd])
        self.assertEqual([metadata["subject"] for metadata in found[8:]], ["s.\\xff\\xfe", "s.\\xc3"])
        self.assertEqual(node.count("ack"), 40 + 3 * len(odd))
        self.assertEqual(node.count("dead letter"), len(odd))
        self.assertEqual((node.problems, node.metrics.nats_rebinds.labels("q").value), ([], 0))
        letter = await from_asyncio(self.js.get_msg("D", 9))
        assert letter.headers is not None
        self.assertEqual(letter.headers["Scfd-Subject"], "s.\\xff\\xfe")
