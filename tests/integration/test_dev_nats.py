"""The nats-server beside the node, with the real one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nats
import psutil
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

import scfd
from scfd.config import DevNatsSettings, DevStreamSettings
from scfd.deferreds import from_asyncio
from scfd.dev.nats_server import NatsServer
from scfd.errors import StartupError
from tests.integration.daemon import free_ports
from tests.test_host_metrics import host_metrics

#: Seconds in which anything here has to happen; it usually takes some 100 ms.
LIMIT = 20.0

METRICS = (DevStreamSettings("METRICS", ("metrics.>",)),)

#: A node that has a nats-server, says which process that is, and stays.
NODE = """
import sys
from twisted.internet import asyncioreactor
asyncioreactor.install()
from types import SimpleNamespace
import psutil
from twisted.internet import reactor
from scfd.dev.nats_server import NatsServer

def up(_):
    print(*(process.pid for process in psutil.Process().children(recursive=True)), flush=True)

server = NatsServer(SimpleNamespace(port=int(sys.argv[1]), streams=()), sys.argv[2], reactor)
reactor.callWhenRunning(lambda: server.startService().addCallback(up))
reactor.run()
"""


async def stream_config(port: int) -> Any:
    """:returns: how the server keeps the stream METRICS. Runs in asyncio."""

    async def quiet(error: Exception) -> None:
        """What goes wrong is raised as well."""

    client = await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, error_cb=quiet)
    try:
        await client.jetstream().publish("metrics.cpu", b"1")
        return (await client.jetstream().stream_info("METRICS")).config
    finally:
        await client.close()


class NatsServerTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.port = free_ports(1)[0]
        self.state_dir = self.mktemp()

    async def start(self, settings: DevNatsSettings) -> NatsServer:
        server = NatsServer(settings, self.state_dir, reactor)
        self.addCleanup(server.stopService)
        await server.startService()
        return server

    async def could_not_start(self, settings: DevNatsSettings) -> str:
        try:
            await self.start(settings)
        except StartupError as error:
            return str(error)
        self.fail("it started")

    async def test_has_the_streams_of_the_config(self) -> None:
        await self.start(DevNatsSettings(self.port, METRICS))
        config = await from_asyncio(stream_config(self.port))
        self.assertEqual((["metrics.>"], "memory"), (config.subjects, config.storage))

    async def test_stops_and_leaves_nothing_behind(self) -> None:
        before = set(psutil.Process().children(recursive=True))
        server = await self.start(DevNatsSettings(self.port, METRICS))
        await server.stopService()
        self.assertEqual(set(), set(psutil.Process().children(recursive=True)) - before)
        self.assertFalse((Path(self.state_dir) / "dev-nats").exists())

    async def test_begins_with_an_empty_folder(self) -> None:
        old = Path(self.state_dir) / "dev-nats" / "old"
        old.mkdir(parents=True)
        await self.start(DevNatsSettings(self.port, METRICS))
        self.assertFalse(old.exists())

    async def test_port_in_use(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.port))
            other.listen()
            self.assertEqual(
                f"dev.nats.port: 127.0.0.1:{self.port} is in use by another program; choose another port",
                await self.could_not_start(DevNatsSettings(self.port, METRICS)),
            )

    async def test_a_stream_that_the_server_refuses(self) -> None:
        streams = (DevStreamSettings("A", ("a.>",)), DevStreamSettings("B", ("a.b",)))
        self.assertEqual(
            "dev.nats.streams: B: subjects overlap with an existing stream",
            await self.could_not_start(DevNatsSettings(self.port, streams)),
        )

    async def test_a_folder_that_cannot_be_written(self) -> None:
        Path(self.state_dir).touch()
        self.assertEqual(
            f"{self.state_dir}/dev-nats: Not a directory;"
            " system.state_dir must be a folder that can be written to",
            await self.could_not_start(DevNatsSettings(self.port, METRICS)),
        )

    async def test_is_started_again_with_its_streams(self) -> None:
        before = set(psutil.Process().children(recursive=True))
        with capturedLogs() as events:
            await self.start(DevNatsSettings(self.port, METRICS))
            for process in set(psutil.Process().children(recursive=True)) - before:
                process.kill()
            await self.until(lambda: self.errors(events))
        self.assertEqual(
            ["nats-server ended by itself; starting it again in {delay:g} s"], self.errors(events)
        )
        await self.until_it_answers()

    def errors(self, events: Sequence[LogEvent]) -> list[str]:
        return [event["log_format"] for event in events if event["log_level"] is LogLevel.error]

    async def until(self, condition: Callable[[], object]) -> None:
        """Look 20 times a second; the timeout of the test ends it."""
        while not condition():
            await deferLater(reactor, 0.05)

    async def until_it_answers(self) -> None:
        while True:
            try:
                await from_asyncio(stream_config(self.port))
                return
            except (OSError, nats.errors.Error, asyncio.TimeoutError):
                await deferLater(reactor, 0.05)

    async def test_stopped_while_it_starts(self) -> None:
        server = NatsServer(DevNatsSettings(self.port, METRICS), self.state_dir, reactor)
        starting: Deferred[None] = server.startService()
        outcome: list[object] = []
        starting.addBoth(outcome.append)
        await server.stopService()
        self.assertEqual(1, len(outcome))
        self.assertFalse((Path(self.state_dir) / "dev-nats").exists())

    def test_is_gone_when_the_node_is_killed(self) -> None:
        root = str(Path(scfd.__file__).parent.parent)
        command = [sys.executable, "-c", NODE, str(self.port), self.state_dir]
        node = subprocess.Popen(command, stdout=subprocess.PIPE, env={"PATH": "", "PYTHONPATH": root})
        assert node.stdout is not None
        self.addCleanup(node.stdout.close)
        self.addCleanup(node.kill)
        processes = [psutil.Process(int(pid)) for pid in node.stdout.readline().split()]
        self.assertEqual(2, len(processes), "the guard and the server")
        node.kill()
        node.wait(LIMIT)
        self.assertEqual([], psutil.wait_procs(processes, LIMIT)[1])


class DemoPluginTests(TestCase):
    timeout = 60

    async def test_publishes_and_comes_back_after_the_server_was_away(self) -> None:
        settings = DevNatsSettings(free_ports(1)[0], METRICS)
        server = NatsServer(settings, self.mktemp(), reactor)
        self.addCleanup(server.stopService)
        await server.startService()
        publisher = host_metrics.Publisher(f"nats://127.0.0.1:{settings.port}")
        self.addCleanup(lambda: from_asyncio(publisher.close()))
        for sequence in (1, 2):
            self.assertEqual(sequence, (await publisher.publish("metrics.cpu", b"1")).seq)
        await server.stopService()
        with self.assertRaisesRegex(RuntimeError, "^no response from NATS within 2 s$"):
            await publisher.publish("metrics.cpu", b"1")
        await server.startService()
        self.assertEqual("METRICS", (await publisher.publish("metrics.cpu", b"1")).stream)

    async def test_without_a_server(self) -> None:
        publisher = host_metrics.Publisher(f"nats://127.0.0.1:{free_ports(1)[0]}")
        outcomes = await DeferredList(
            [publisher.publish("metrics.cpu", b"1") for _ in range(4)], consumeErrors=True
        )
        self.assertEqual(
            ["no response from NATS within 2 s"] * 4, [failure.getErrorMessage() for _, failure in outcomes]
        )
        await from_asyncio(publisher.close())
