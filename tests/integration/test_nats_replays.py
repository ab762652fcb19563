"""Replays that an operator asks for, beside acknowledgements that are lost, on a real nats-server."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.integration.daemon import free_ports, reactor
from tests.integration.test_nats import NatsCase, Node, pause

#: Longer than a server takes until deliveries are on its disk, and a node to see that.
A_MOMENT = 2.2


class Line(ProxyFactory):
    """A TCP line to the server that can be cut."""

    def __init__(self, port: int, to: int) -> None:
        super().__init__("127.0.0.1", to)
        self._port = port
        self._open: set[Any] = set()
        self._listening: IListeningPort | None = None

    def buildProtocol(self, addr: Any) -> ProxyServer | None:
        protocol = super().buildProtocol(addr)
        self._open.add(protocol)
        return protocol

    def mend(self) -> None:
        self._listening = reactor.listenTCP(self._port, self, interface="127.0.0.1")

    async def cut(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
        for protocol in self._open:
            protocol.transport.abortConnection()
        self._open.clear()


class ReplayTests(NatsCase):
    async def a_node_has_handled(self, *bodies: int, **settings: Any) -> Node:
        node = self.node(deliver="all", **settings)  # others can't be reset to what was before them
        await self.bound(node)
        await self.publish(*bodies)
        await self.settled()
        self.assertEqual(node.bodies, list(bodies))
        return node

    async def are_handled(self, node: Node, *bodies: int) -> None:
        await self.so(lambda: node.bodies == list(bodies), f"{bodies}")
        await self.settled()
        self.assertEqual((node.bodies, node.count("repeated")), (list(bodies), 0))

    async def reset(self) -> None:
        await self.api("CONSUMER.RESET.S.c", {"seq": 1})

    async def remake(self) -> None:
        await self.api("CONSUMER.DELETE.S.c")
        config = {"durable_name": "c", "name": "c", "ack_policy": "explicit", "deliver_policy": "all"}
        await self.api("CONSUMER.CREATE.S.c", {"stream_name": "S", "config": config})

    async def test_a_reset_consumer(self) -> None:
        node = await self.a_node_has_handled(1, 2, 3)
        await self.reset()
        await self.are_handled(node, 1, 2, 3, 1, 2, 3)

    async def test_a_consumer_that_is_made_again(self) -> None:
        node = await self.a_node_has_handled(1, 2, 3)
        await self.remake()
        await self.are_handled(node, 1, 2, 3, 1, 2, 3)

    async def replayed_after_a_cut(self, ask: Any, meanwhile: bool) -> None:
        [port] = free_ports(1)
        line = Line(port, int(self.server.url.rpartition(":")[2]))
        line.mend()
        self.addCleanup(line.cut)
        node = await self.a_node_has_handled(1, 2, 3, url=f"nats://127.0.0.1:{port}")
        await line.cut()
        await self.so(lambda: node.problems, "not ready")
        if meanwhile:
            await ask()
        line.mend()
        await self.bound(node)
        if not meanwhile:
            await ask()
        await self.are_handled(node, 1, 2, 3, 1, 2, 3)

    async def test_a_reset_while_the_connection_is_lost(self) -> None:
        await self.replayed_after_a_cut(self.reset, meanwhile=True)

    async def test_a_reset_after_the_connection_was_lost(self) -> None:
        await self.replayed_after_a_cut(self.reset, meanwhile=False)

    async def test_a_consumer_that_is_made_again_while_the_connection_is_lost(self) -> None:
        await self.replayed_after_a_cut(self.remake, meanwhile=True)

    async def test_a_consumer_that_is_made_again_after_the_connection_was_lost(self) -> None:
        await self.replayed_after_a_cut(self.remake, meanwhile=False)

    async def test_a_reset_after_the_server_was_killed(self) -> None:
        node = await self.a_node_has_handled(1, 2, 3)
        await pause(A_MOMENT)
        await self.server.kill()
        await self.so(lambda: node.problems, "not ready")
        await self.server.start()
        await self.connect()
        await self.reset()
        await self.are_handled(node, 1, 2, 3, 1, 2, 3)

    async def test_acks_that_wait_for_the_connection_are_no_replay(self) -> None:
        """The messages are handled while the server is away, and has forgotten that it delivered them."""
        node = self.node(concurrency=3)
        node.act = lambda event: pause(0.5)
        await self.bound(node)
        await self.publish(1, 2, 3)
        await self.so(lambda: len(node.events) == 3, "begun")
        await self.server.kill()
        await pause(0.7)
        await self.server.start()
        await self.connect()
        await self.settled()
        self.assertEqual(sorted(node.bodies), [1, 2, 3])
