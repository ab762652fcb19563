"""Messages flow while node and servers are killed with -9: all are handled, none twice without a reason."""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import define, frozen
from nats.js import JetStreamContext
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from scfd.deferreds import from_asyncio
from tests.integration.daemon import ROOT, Daemon, free_ports, reactor, until
from tests.integration.nats_servers import Cluster, Server
from tests.integration.nats_traffic import Publisher, all_current, connect, leader_of, make_stream, one_leader

COUNT = 5_000
#: Messages a second that are published, and that are handled between two kills.
RATE, APART = 600, 500
#: Seconds that the handler takes, and how many it handles at once.
TAKES, CONCURRENCY = 0.01, 16
#: Seconds after which the server delivers again what has not been acknowledged.
ACK_WAIT = 2.0
#: Seconds from the end of a handler until the ack is on the server's disk, which writes it when it has time.
ACKED = 0.5
#: Seconds from the moment that a server is back until the node has its consumer again.
BACK = 1.0


@frozen
class Handled:
    """A handler's end. :ivar at: the wall clock."""

    sequence: int
    delivered: int
    at: float


@define
class Outage:
    """A kill. :ivar until: when acks arrived again, by the wall clock."""

    began: float
    until: float

    def explains(self, first: Handled, second: Handled) -> bool:
        """Whether the first handling's ack may have got lost in it."""
        return self.began - ACKED <= first.at <= self.until and second.at > self.began


def a_moment() -> Deferred[None]:
    """In which a node notices that its server is gone."""
    return deferLater(reactor, 0.3)


class SoakTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.tally = self.folder / "tally"
        self.admin = free_ports(1)[0]
        self.outages: list[Outage] = []

    def start_node(self, url: str) -> None:
        trigger = {
            "url": url,
            "stream": "S",
            "subject": "s.>",
            "consumer_name": "c",
            "ack_wait": ACK_WAIT,
            "max_deliver": -1,
            "concurrency": CONCURRENCY,
        }
        config = {
            "system": {"name": "n", "node_id": "n", "state_dir": str(self.folder / "state")},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": "tally", "path": str(ROOT / "tests/integration/plugins")},
            "triggers": [{"name": "t", "type": "nats", "settings": trigger}],
            "plugin": {"tally": str(self.tally), "takes": TAKES},
        }
        self.node = Daemon(json.dumps(config), self.folder).start()
        self.addCleanup(self.node.clean_up)

    def handled(self) -> list[Handled]:
        if not self.tally.exists():
            return []
        return [Handled(*json.loads(line)) for line in self.tally.read_text().splitlines()]

    async def some_are_handled(self) -> None:
        enough = len(self.handled()) + APART

        async def they_are() -> bool:
            return len(self.handled()) >= enough

        await until(they_are, f"{APART} more handled")

    async def kill_node(self, url: str) -> None:
        self.outages.append(Outage(time.time(), time.time()))  # a node that is gone handles nothing
        await self.node.stop(signal.SIGKILL)
        self.start_node(url)

    async def kill_server(
        self, server: Server, meanwhile: Callable[[], Awaitable[object]] = a_moment
    ) -> None:
        """And start it again."""
        outage = Outage(time.time(), float("inf"))
        self.outages.append(outage)
        await server.kill()
        await meanwhile()
        await server.start()
        outage.until = time.time() + BACK

    def check(self) -> None:
        by_sequence: dict[int, list[Handled]] = defaultdict(list)
        for one in self.handled():
            by_sequence[one.sequence].append(one)
        self.assertEqual(sorted(by_sequence), list(range(1, COUNT + 1)))
        again = [pair for several in by_sequence.values() for pair in pairwise(several)]
        unexplained = [pair for pair in again if not any(outage.explains(*pair) for outage in self.outages)]
        self.assertEqual(unexplained, [], self.outages)

    async def flow(
        self, url: str, replicas: int, trouble: Callable[[JetStreamContext], Awaitable[None]]
    ) -> None:
        client = await from_asyncio(connect(url))
        self.addCleanup(lambda: from_asyncio(client.close()))
        jetstream = client.jetstream(timeout=1)
        await from_asyncio(make_stream(jetstream, "S", "s.>", replicas))
        self.start_node(url)
        await self.node.says("consuming")
        publishing = from_asyncio(Publisher(jetstream, "s.x", COUNT, RATE).run())
        await trouble(jetstream)
        await publishing

        async def all_acknowledged() -> Any:
            consumer = await from_asyncio(jetstream.consumer_info("S", "c", timeout=1))
            return (consumer.num_pending, consumer.num_ack_pending) == (0, 0)

        await until(all_acknowledged, "nothing pending")
        self.check()
        self.assertEqual(await self.node.stop(), 0, self.node.output)

    async def test_one_server(self) -> None:
        """The node is killed three times, the server twice in between."""
        server = Server(self.folder / "store")
        self.addCleanup(server.clean_up)
        await server.start()

        async def trouble(jetstream: JetStreamContext) -> None:
            for kill in ("node", "server", "node", "server", "node"):
                await self.some_are_handled()
                await (self.kill_node(server.url) if kill == "node" else self.kill_server(server))

        await self.flow(server.url, 1, trouble)

    async def test_cluster(self) -> None:
        """One server after the other is killed; the last one leads the consumer."""
        cluster = Cluster(self.folder)
        self.addCleanup(cluster.clean_up)
        await cluster.start()

        async def trouble(jetstream: JetStreamContext) -> None:
            leader = await from_asyncio(one_leader(jetstream, "S", "c"))
            for name in cluster.servers.keys() - {leader}:
                await self.some_are_handled()
                await self.kill_server(cluster.servers[name])
                await from_asyncio(all_current(jetstream, "S"))  # or the next kill would leave one of three
            await self.some_are_handled()
            await self.kill_server(
                cluster.servers[leader], lambda: from_asyncio(leader_of(jetstream, "S", "c"))
            )

        await self.flow(cluster.url, 3, trouble)
