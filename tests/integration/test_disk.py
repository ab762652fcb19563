"""The disk of a working node is full, or its outbox locked: everything waits, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import subprocess

import treq
from nats.aio.client import Client
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from scfd.deferreds import from_asyncio
from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, reactor, until
from tests.integration.nats_servers import Server
from tests.integration.node import NodeTestCase, asynchronous
from tests.integration.scripted import task, tasks_answer

#: Bytes.
DISK = 1024 * 1024
#: Seconds. A lock is noticed when SQLite has waited for 5.
FULL, LOCKED = 5.0, 8.0
BEGINS, ENDS = "the disk takes no task results", "the disk takes task results again"


class DiskTests(NodeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", str(self.state)]
        self.mounted = subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
        if self.mounted:
            self.addCleanup(subprocess.run, ["umount", str(self.state)], check=True)
        self.server.on_heartbeat = lambda heard: tasks_answer([task("a"), task("b")])
        [port] = free_ports(1)
        self.nats = Server(self.folder / "store", port)
        self.addCleanup(self.nats.clean_up)

    async def begin(self) -> None:
        """Start everything, and wait for the first results of both triggers."""
        await self.nats.start()
        self.client = Client()
        await from_asyncio(self.client.connect(self.nats.url))
        self.addCleanup(lambda: from_asyncio(self.client.close()))
        await from_asyncio(self.client.jetstream().add_stream(name="S", subjects=["s"]))
        self.daemon = self.start_node()
        await self.daemon.says("2 tasks received")
        await self.publish(1)
        await until(self.reported_all, "the first results")

    def start_node(self) -> Daemon:
        nats = {
            "url": self.nats.url,
            "stream": "S",
            "subject": "s",
            "consumer_name": "c",
            "deliver": "all",
            "ack_wait": 2,  # less than the disk fails: what is not kept open comes again
            "tasks": "snapshot",
        }
        config = {
            "system": {"name": "n", "node_id": "node-abc", "state_dir": str(self.state)},
            "heartbeat": {"interval": 0.3, "server_url": f"http://127.0.0.1:{self.server.port}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": "recorder", "path": str(ROOT / "tests/integration/plugins")},
            "triggers": [
                {"name": "timer", "type": "timer", "settings": {"cron": "* * * * * * *"}},
                {"name": "queue", "type": "nats", "settings": nats},
            ],
            "plugin": {"events": str(self.folder / "events.jsonl")},
        }
        daemon = Daemon(json.dumps(config), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    async def publish(self, count: int) -> None:
        for _ in range(count):
            await from_asyncio(self.client.jetstream().publish("s", b"{}"))

    def fill(self) -> None:
        """To the last byte; where nothing can be mounted, the node's files may not grow any more."""
        if self.mounted:
            with contextlib.suppress(OSError), (self.state / "filling").open("wb", buffering=0) as filling:
                while True:
                    filling.write(b"x" * 4096)
        else:
            size = (self.state / "outbox.sqlite3-wal").stat().st_size
            self.limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (size, self.limits[1]))

    def free(self) -> None:
        if self.mounted:
            (self.state / "filling").unlink()
        else:
            resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, self.limits)

    def events(self) -> list[str]:
        """What each event's results say."""
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [
            event["metadata"].get("fire_time") or f"message {event['metadata']['stream_sequence']}"
            for event in events
            if event.get("tasks") or event["payload"].get("tasks")
        ]

    def results(self, task_id: str) -> list[str]:
        return [heard.json["result"] for heard in self.server.reports if heard.json["id"] == task_id]

    async def reported_all(self) -> bool:
        events = sorted(self.events())
        return any(event.startswith("message") for event in events) and all(
            sorted(self.results(task_id)) == events for task_id in "ab"
        )

    async def named(self) -> bool:
        problems = await get_json(f"http://127.0.0.1:{self.admin}/ready")
        return any(problem["component"] == "state folder" for problem in problems)

    async def check_after(self, messages: int) -> None:
        """All work of the time of trouble is done, once each; the trouble was said once, and its end."""
        await self.daemon.says(ENDS)
        self.server.on_heartbeat = lambda heard: tasks_answer([], "empty")
        await self.daemon.says("0 tasks received")
        await until(self.reported_all, "every result")
        events = self.events()
        self.assertEqual(len(set(events)), len(events))
        self.assertEqual(
            sorted(event for event in events if event.startswith("message")),
            sorted(f"message {number + 1}" for number in range(messages)),
        )
        for task_id in "ab":
            ticks = [text for text in self.results(task_id) if not text.startswith("message")]
            self.assertEqual(ticks, sorted(ticks))
        self.assertFalse(await self.named())
        output = self.daemon.output
        self.assertEqual((output.count(BEGINS), output.count(ENDS)), (1, 1), output)
        self.assertNotIn("Traceback", output)
        response = await treq.get(f"http://127.0.0.1:{self.admin}/metrics", persistent=False)
        self.assertRegex(await response.text(), r"scfd_storage_errors_total [1-9]")
        self.assertEqual(await self.daemon.stop(), 0)

    @asynchronous
    async def test_full(self) -> None:
        await self.begin()
        self.fill()
        until_freed: Deferred[None] = deferLater(reactor, FULL)
        await self.publish(20)
        await until(self.named, "the problem")
        await self.publish(20)
        await until_freed
        self.free()
        await self.check_after(41)

    @asynchronous
    async def test_locked_by_another_process(self) -> None:
        await self.begin()
        path = self.state / "outbox.sqlite3"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            until_freed: Deferred[None] = deferLater(reactor, LOCKED)
            await self.publish(20)
            await until(self.named, "the problem")
            await until_freed
            other.execute("ROLLBACK")
        await self.check_after(21)
