"""The node against the development control plane, as a server of each generation and as one that changes."""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from scfd.control_plane.signing import Signer
from scfd.dev.state import ControlPlaneState
from scfd.dev.task_file import parse_tasks
from scfd.dev.web import resource_tree
from tests.integration.daemon import Daemon, free_ports, reactor, until
from tests.integration.node import KEYS, NodeTestCase, asynchronous
from tests.integration.scripted import TrackingSite


class ControlPlaneTestCase(NodeTestCase):
    """The node against the development control plane, which is as strict as the real ones."""

    def setUp(self) -> None:
        super().setUp()
        self.state = ControlPlaneState(time.time)
        self.state.tasks = parse_tasks("[{task_id: task-001}, {task_id: gone, invalid: 1}]", "t")
        self.port: Any = None
        (self.control_plane,) = free_ports(1)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop_server()))

    def server_of(self, protocol: str) -> Resource:
        return resource_tree(self.state, reactor, protocol, Signer(**KEYS, now=time.time))

    def start_server(self, resource: Resource) -> None:
        self.site = TrackingSite(resource)
        self.port = reactor.listenTCP(self.control_plane, self.site, interface="127.0.0.1")

    async def stop_server(self) -> None:
        if self.port is not None:
            await self.port.stopListening()
            self.site.abort_connections()

    async def restart_server(self, protocol: str) -> None:
        await self.stop_server()
        self.start_server(self.server_of(protocol))

    def start_node(self, **heartbeat: Any) -> Daemon:
        return self.start(
            server=f"http://127.0.0.1:{self.control_plane}",
            plugin={"static": {"supported_collectors": ["kline"], "extra": {"a": 1}}},
            heartbeat={"auth": KEYS, **heartbeat},
        )

    def results(self) -> list[str]:
        return [result["result"] for result in self.state.as_json()["results"] if result["status"] == 2]

    async def takes_results(self) -> None:
        before = len(self.results())

        async def taken() -> bool:
            return len(self.results()) >= before + 2

        await until(taken, "two results more")

    def fired(self, task_id: str) -> list[str]:
        """The moments of the events with a task."""
        events = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return [
            event["metadata"]["fire_time"]
            for event in events
            if any(task["task_id"] == task_id for task in event["payload"]["tasks"])
        ]

    def taken(self, task_id: str) -> list[str]:
        """The moments of the results that the server has taken of a task."""
        results = self.state.as_json()["results"]
        return [result["result"] for result in results if result["task_id"] == task_id]

    async def said_md5(self, md5: str) -> bool:
        """Whether the node's last heartbeat had this digest."""
        return bool(self.state.as_json()["nodes"][0]["tasks_md5"] == md5)

    async def nothing_waits(self, task_id: str) -> None:
        """Wait until the results of all events so far have been taken."""

        async def all_taken() -> bool:
            return self.taken(task_id)[-1:] == self.fired(task_id)[-1:]

        await until(all_taken, f"the last result of {task_id}")


class GenerationTests(ControlPlaneTestCase):
    @asynchronous
    async def test_each_generation(self) -> None:
        """Tasks arrive and results are taken, with the protocol set as well as learned."""
        for protocol in ("1", "2", "3"):
            for setting in (protocol, "auto"):
                await self.restart_server(protocol)
                before = len(self.taken("task-001"))
                daemon = self.start_node(protocol=setting)
                await daemon.says("delivered to")
                md5 = hashlib.md5(b"task-001").hexdigest()
                await until(partial(self.said_md5, md5), "a heartbeat with the list's digest")
                self.assertGreater(len(self.taken("task-001")), before)
                self.assertEqual(await daemon.stop(), 0)

    @asynchronous
    async def test_a_server_that_goes_from_1_to_3_and_back(self) -> None:
        """Tasks come within two heartbeats of each restart; no result is lost, and none is doubled."""
        self.start_server(self.server_of("1"))
        daemon = self.start_node()
        await self.takes_results()
        for protocol in ("3", "1"):
            # Another list, so that it has to be handed out anew.
            self.state.tasks = parse_tasks(f"[{{task_id: task-001}}, {{task_id: for-{protocol}}}]", "t")
            md5 = hashlib.md5(f"for-{protocol},task-001".encode()).hexdigest()
            before = self.state.as_json()["counts"]["heartbeats"]
            await self.restart_server(protocol)

            await until(partial(self.said_md5, md5), f"the list of generation {protocol}")
            self.assertLessEqual(self.state.as_json()["counts"]["heartbeats"], before + 2)
            await self.takes_results()
        self.assertEqual(await daemon.stop(), 0)
        self.assertEqual(self.taken("task-001"), self.fired("task-001"))
