"""SIGTERM to a node whose nats-server is frozen: it ends in time, with status 0 and without a traceback."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from tests.integration.daemon import ROOT, Daemon, reactor
from tests.integration.test_nats import pause
from tests.integration.test_nats_nodes import NodesCase

ADAPTER = {"native": "patient", "path": str(ROOT / "tests/integration/plugins")}
DRAIN = 4.0


class MuteServer(Protocol):
    """Takes connections, and responds to nothing else."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(b'INFO {"server_id": "M", "version": "2.15.1", "max_payload": 1048576}\r\n')

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"PONG\r\n" * data.count(b"PING\r\n"))


class FrozenServerTests(NodesCase):
    def start(self, **settings: Any) -> Daemon:
        return self.start_node("n", ADAPTER, drain=DRAIN, **settings)

    async def stops(self, node: Daemon) -> None:
        asked = reactor.seconds()
        status = await node.stop()
        took = reactor.seconds() - asked
        self.assertEqual(status, 0, node.output)
        self.assertNotIn("Traceback", node.output + node.errors)
        self.assertLess(took, DRAIN + 1, node.output)

    async def stopped_while_frozen(self, **settings: Any) -> None:
        """The server is frozen while messages are being handled, which then can't be acknowledged."""
        node = self.start(concurrency=2, **settings)
        await node.says("consuming")
        await self.publish(1, 2, 3, 4)
        await self.so(lambda: len(self.noted("n")) >= 2, "begun")
        self.server.send(signal.SIGSTOP)
        await pause(0.6)
        await self.stops(node)
        self.server.send(signal.SIGCONT)

    async def test_confirmed_acks(self) -> None:
        await self.stopped_while_frozen(ack="double")

    async def test_plain_acks(self) -> None:
        await self.stopped_while_frozen()

    async def test_dead_letters(self) -> None:
        await self.stopped_while_frozen(max_deliver=1, dead_letter="dead.q", timeout=0.1)

    async def test_while_connecting(self) -> None:
        self.server.send(signal.SIGSTOP)
        node = self.start()
        await node.says("can't connect")
        await pause(0.2)
        await self.stops(node)

    async def test_while_the_consumer_is_made(self) -> None:
        listening = reactor.listenTCP(0, Factory.forProtocol(MuteServer), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        node = self.start(url=f"nats://127.0.0.1:{listening.getHost().port}")
        await node.says("connected to")
        await pause(0.5)
        await self.stops(node)
