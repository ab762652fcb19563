"""The disk is full, read-only, locked, or its files are taken away: everything waits, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any
from unittest import SkipTest

import treq
from nats.aio.client import Client
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from scfd.deferreds import from_asyncio
from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, reactor, until
from tests.integration.nats_servers import Server
from tests.integration.node import NodeTestCase, asynchronous
from tests.integration.scripted import Heard, Say, task, tasks_response

#: Bytes.
DISK = 1024 * 1024
#: Seconds.
FULL, LOCKED, AWAY, BROKEN = 5.0, 3.0, 2.5, 3.0
BEGINS, ENDS = "the disk takes no task results", "the disk takes task results again"


class DiskTestCase(NodeTestCase):
    """A small disk of its own, with the state folder on it."""

    def setUp(self) -> None:
        super().setUp()
        self.environ: dict[str, str] = {}
        self.disk = self.folder / "disk"
        self.state = self.disk / "state"
        self.disk.mkdir(mode=0o700)
        self.mounted = self.mount(f"size={DISK},nr_inodes=20")
        self.state.mkdir(mode=0o700)
        self.server.on_heartbeat = lambda heard: tasks_response([task("a"), task("b")])

    def mount(self, options: str) -> bool:
        """:returns: whether this user may."""
        command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(self.disk)]
        mounted = subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
        if mounted:
            self.addCleanup(self.unmount)
        return mounted

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.disk)], stderr=subprocess.DEVNULL, check=False)

    def start_node(self, *triggers: Any) -> Daemon:
        config = {
            "system": {"name": "n", "node_id": "node-abc", "state_dir": str(self.state)},
            "heartbeat": {"interval": 0.3, "server_url": f"http://127.0.0.1:{self.server.port}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": "recorder", "path": str(ROOT / "tests/integration/plugins")},
            "triggers": [
                {"name": "timer", "type": "timer", "settings": {"cron": "* * * * * * *"}},
                *triggers,
            ],
            "plugin": {"events": str(self.folder / "events.jsonl")},
        }
        self.daemon = Daemon(json.dumps(config), self.folder, self.environ)
        self.addCleanup(self.daemon.clean_up)
        return self.daemon.start()

    def fill(self) -> None:
        """To the last byte; where nothing can be mounted, the node's files may not grow any more."""
        if self.mounted:
            with contextlib.suppress(OSError), (self.disk / "filling").open("wb", buffering=0) as filling:
                while True:
                    filling.write(b"x" * 4096)
        else:
            size = (self.state / "outbox.sqlite3-wal").stat().st_size
            self.limits = resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, (size, self.limits[1]))

    def free(self) -> None:
        if self.mounted:
            (self.disk / "filling").unlink()
        else:
            resource.prlimit(self.daemon.pid, resource.RLIMIT_FSIZE, self.limits)

    def breakable(self) -> Path:
        """:returns: a file. While it is there, the node's disk can't be written; see ``eio.c``."""
        if shutil.which("cc") is None:
            raise SkipTest("no C compiler")
        library, flag = self.folder / "eio.so", self.folder / "eio"
        source = ROOT / "tests/integration/eio.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self.environ = {"LD_PRELOAD": str(library), "EIO_WHILE": str(flag)}
        return flag

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
        return bool(events) and all(sorted(self.results(task_id)) == events for task_id in "ab")

    def later(self, heard: Heard) -> Say:
        self.server.heard.remove(heard)
        return Say(b"later", 503)

    async def named(self) -> bool:
        problems = await get_json(f"http://127.0.0.1:{self.admin}/ready")
        return any(problem["component"] == "state folder" for problem in problems)

    async def check_after(self, messages: int = 0, troubles: int = 1) -> None:
        """All work of the time of trouble is done, once each; the trouble was said once, and its end."""
        await self.daemon.says(f"(?s)({ENDS}.*){{{troubles}}}")

        async def handled() -> bool:
            events = self.events()
            return bool(events) and sum(event.startswith("message") for event in events) >= messages

        await until(handled, "every message, and an event at all")
        self.server.on_heartbeat = lambda heard: tasks_response([], "empty")
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
        self.assertEqual((output.count(BEGINS), output.count(ENDS)), (troubles, troubles), output)
        self.assertNotIn("Traceback", output)
        response = await treq.get(f"http://127.0.0.1:{self.admin}/metrics", persistent=False)
        self.assertRegex(await response.text(), r"scfd_storage_errors_total [1-9]")
        self.assertEqual(await self.daemon.stop(), 0)


class WorkingNodeTests(DiskTestCase):
    async def begin(self) -> None:
        """Start everything, and wait for the first results of both triggers."""
        nats = Server(self.folder / "store")
        self.addCleanup(nats.clean_up)
        await nats.start()
        self.client = Client()
        await from_asyncio(self.client.connect(nats.url))
        self.addCleanup(lambda: from_asyncio(self.client.close()))
        await from_asyncio(self.client.jetstream().add_stream(name="S", subjects=["s"]))
        settings = {
            "url": nats.url,
            "stream": "S",
            "subject": "s",
            "consumer_name": "c",
            "deliver": "all",
            "ack_wait": 2,  # less than the disk fails: what is not kept open comes again
            "tasks": "snapshot",
        }
        await self.start_node({"name": "queue", "type": "nats", "settings": settings}).says(
            "2 tasks received"
        )
        await self.publish(1)
        await until(self.both_reported, "the first results")

    async def both_reported(self) -> bool:
        return await self.reported_all() and "message 1" in self.events()

    async def publish(self, count: int) -> None:
        for _ in range(count):
            await from_asyncio(self.client.jetstream().publish("s", b"{}"))

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

    @asynchronous
    async def test_broken(self) -> None:
        """Each write, then each read as well, ends with EIO."""
        writes = self.breakable()
        reads = writes.with_suffix(".reads")
        await self.begin()
        writes.touch()
        await self.publish(20)
        await until(self.named, "the problem")
        reads.touch()
        await self.publish(20)
        await deferLater(reactor, BROKEN)
        self.assertIn("disk I/O error", self.daemon.output)
        reads.unlink()
        writes.unlink()
        await self.check_after(41)

    @asynchronous
    async def test_taken_away(self) -> None:
        """The folder is moved, then deleted; then another disk, which is read-only, is where it was."""
        self.daemon = self.start_node()
        await self.daemon.says("2 tasks received")
        await until(self.reported_all, "the first results")
        self.server.on_report = self.later
        self.state.rename(self.disk / "moved")
        await self.daemon.says("is replaced")
        shutil.rmtree(self.state)
        await self.daemon.says("(?s)is replaced.*is replaced")
        troubles = 0
        if self.mounted and self.mount("ro"):
            await until(self.named, "the problem")
            self.assertIn("Read-only file system", self.daemon.output)
            await deferLater(reactor, AWAY)
            self.unmount()
            await self.daemon.says(ENDS)
            troubles = 1
        await self.daemon.stop(signal.SIGKILL)  # what is on the disk has to be all there is
        self.server.on_report = lambda heard: Say()
        output = self.daemon.output
        await self.start_node().says("task results of an earlier run are to be delivered")
        self.assertEqual(output.count(BEGINS), troubles, output)


class StartTests(DiskTestCase):
    @asynchronous
    async def test_broken(self) -> None:
        flag = self.breakable()
        flag.touch()
        self.start_node()
        await self.daemon.says("ready")
        await until(self.named, "the problem")
        flag.unlink()
        await self.check_after()

    @asynchronous
    async def test_full(self) -> None:
        """Neither bytes nor inodes are left."""
        if not self.mounted:
            raise SkipTest("nothing can be mounted here")
        for number in range(20):
            with contextlib.suppress(OSError):
                (self.disk / f"file-{number}").touch()
        self.fill()
        self.start_node()
        await self.daemon.says("ready")
        await until(self.named, "the problem")
        for file in self.disk.glob("file-*"):
            file.unlink()
        await self.check_after()

    @asynchronous
    async def test_locked_by_another_process(self) -> None:
        with contextlib.closing(
            sqlite3.connect(self.state / "outbox.sqlite3", isolation_level=None)
        ) as other:
            other.execute("BEGIN EXCLUSIVE")
            await self.start_node().says(f"(?s)({BEGINS}: database is locked|ready).*({BEGINS}|ready)")
            await until(self.named, "the problem")
            other.execute("ROLLBACK")
        await self.check_after()

    @asynchronous
    async def test_a_damaged_outbox_on_a_full_disk(self) -> None:
        await self.start_node().says("2 tasks received")
        await until(self.reported_all, "the first results")
        self.server.on_report = self.later
        await deferLater(reactor, 3.5 - time.time() % 1)  # in the middle between two fires
        await self.daemon.stop(signal.SIGKILL)
        self.server.on_report = lambda heard: Say()
        with contextlib.closing(sqlite3.connect(self.state / "outbox.sqlite3")) as db:
            (waiting,) = db.execute("SELECT COUNT(*) FROM pending").fetchone()
            db.execute("PRAGMA journal_mode=DELETE")
        self.assertGreater(waiting, 2)
        (self.state / "outbox.sqlite3-wal").write_bytes(b"no log")
        if not self.mounted:
            raise SkipTest("nothing can be mounted here")
        self.fill()
        await self.start_node().says(BEGINS)
        self.free()
        await self.daemon.says("is damaged .* and moved aside")
        await self.check_after()

    async def refusal(self, daemon: Daemon) -> str:
        """:returns: the line with which a node does not start."""
        self.assertEqual(await daemon.end(), 1)
        self.assertNotIn("Traceback", daemon.output)
        (line,) = daemon.errors.splitlines()
        return line

    @asynchronous
    async def test_a_read_only_disk(self) -> None:
        if not (self.mounted and self.mount("ro")):
            raise SkipTest("nothing can be mounted here")
        self.assertEqual(
            await self.refusal(self.start_node()),
            f"scfd: system.state_dir: {self.state} can't be written (Read-only file system); "
            "name a folder that this process may write to",
        )

    @asynchronous
    async def test_two_nodes(self) -> None:
        first = self.start_node()
        await first.says("ready")
        self.admin = free_ports(1)[0]
        second = self.start_node()
        self.assertEqual(
            await self.refusal(second),
            f"scfd: system.state_dir: {self.state} is in use by another node; "
            "give each node a folder of its own",
        )
        self.assertEqual(await first.stop(), 0)

    @asynchronous
    async def test_a_node_takes_over_from_one_that_ends(self) -> None:
        first = self.start_node()
        await first.says("ready")
        second = self.start_node()
        await second.says("waiting up to 5 s for the node that uses")
        self.assertEqual(await first.stop(), 0)
        await second.says("ready")
        self.assertEqual(await second.stop(), 0)
