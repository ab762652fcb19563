"""No accepted result is lost: a minute of outages, errors and kills, one trigger a second."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from itertools import groupby

from twisted.internet.task import deferLater

from tests.integration.daemon import Daemon, reactor, until
from tests.integration.node import NodeTestCase, asynchronous
from tests.integration.scripted import Heard, Say, task, tasks_response

TASKS = ("a", "b", "c", "refused")
#: Seconds.
DURATION, DOWN, FAILING = 60.0, 20.0, 10.0


class NothingLostTests(NodeTestCase):
    timeout = 150

    def setUp(self) -> None:
        super().setUp()
        self.failing = False
        self.taken: dict[str, list[str]] = defaultdict(list)
        self.server.on_heartbeat = lambda heard: tasks_response([task(task_id) for task_id in TASKS])
        self.server.on_report = self.take

    def take(self, heard: Heard) -> Say:
        if self.failing:
            return Say(b"failing", 500)
        report = heard.json
        if report["id"] == "refused":
            return Say(b"no such task", 404)
        self.taken[report["id"]].append(report["result"])
        return Say()

    async def at(self, seconds: float) -> None:
        """Wait until so many seconds after the beginning, and then for the middle of a second."""
        await deferLater(reactor, max(0.0, self.began + seconds - reactor.seconds()))
        await deferLater(reactor, (1.5 - reactor.seconds() % 1) % 1)

    async def kill(self, daemon: Daemon) -> Daemon:
        await daemon.stop(signal.SIGKILL)
        return self.start()

    @asynchronous
    async def test_a_minute_of_trouble(self) -> None:
        """
        Server down from second 5 to 25, node killed at 15 and at 30, status 500 from 35 to 45, 404 for one
        task throughout. The kills are in the middle of a second, when the last event's results are taken.
        """
        daemon = self.start()
        await daemon.says("4 tasks received")
        self.began = reactor.seconds()
        await self.at(5)
        await self.server.close()
        await self.at(15)
        daemon = await self.kill(daemon)
        await self.at(5 + DOWN)
        self.server.listen()
        await self.at(30)
        daemon = await self.kill(daemon)
        await self.at(35)
        self.failing = True
        await self.at(35 + FAILING)
        self.failing = False
        await self.at(DURATION)
        self.server.on_heartbeat = lambda heard: tasks_response([], "empty")
        await daemon.says("0 tasks received")
        expected = self.moments_with_tasks()
        self.assertGreater(len(expected), DURATION - DOWN)

        async def all_there() -> bool:
            return all(set(self.taken[task_id]) >= set(expected) for task_id in TASKS[:3])

        await until(all_there, "every result")
        for task_id in TASKS[:3]:
            # At least once: a kill between the server's answer and its note on disk sends one again.
            self.assertEqual([moment for moment, _ in groupby(self.taken[task_id])], expected)
        self.assertEqual(await daemon.stop(), 0)

    def moments_with_tasks(self) -> list[str]:
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        return [event["metadata"]["fire_time"] for event in events if event["payload"]["tasks"]]
