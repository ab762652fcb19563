"""What stands between the node and its control plane, or is wrong with it, teaches the node no generation."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections.abc import Iterable
from itertools import groupby

from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from scfd.dev.task_file import parse_tasks
from tests.integration.daemon import Daemon, get_json, reactor, until
from tests.integration.node import KEYS, asynchronous
from tests.integration.scripted import Say
from tests.integration.test_generations import ControlPlaneTestCase

MANY = [f"task-{number:02}" for number in range(40)]


class Between(Resource):
    """
    A proxy in front of servers.

    :ivar say: what it responds itself; None to pass on.
    """

    isLeaf = True

    def __init__(self, servers: Iterable[Resource]) -> None:
        super().__init__()
        self._servers = list(servers)
        self._chance = random.Random(1)
        self.say: Say | None = None

    def render(self, request: Request) -> int:
        if self.say is None:
            self._chance.choice(self._servers).render(request)
            return NOT_DONE_YET
        request.setResponseCode(self.say.status)
        request.write(self.say.body)
        request.finish()
        return NOT_DONE_YET


class FaultTests(ControlPlaneTestCase):
    def learned(self, daemon: Daemon) -> list[str]:
        return re.findall(r"speaks generation (\d)", daemon.output)

    async def in_front_of(self, *protocols: str) -> tuple[Between, Daemon]:
        between = Between(map(self.server_of, protocols))
        self.start_server(between)
        return between, self.start_node()

    @asynchronous
    async def test_restarts_in_the_middle_of_many_reports(self) -> None:
        """Through all generations, and with a node that is killed between: every result arrives, in order."""
        self.state.tasks = parse_tasks(json.dumps([{"task_id": task} for task in MANY]), "t")
        self.start_server(self.server_of("1"))
        daemon = self.start_node()
        await daemon.says("40 tasks received")
        for protocol in ("3", "2", "1", "3"):
            before = len(self.results())

            async def some(before: int = before) -> bool:
                return len(self.results()) >= before + 10

            await until(some, "some results")
            await self.restart_server(protocol)
            if protocol == "2":
                await deferLater(reactor, (1.5 - time.time() % 1) % 1)  # the last event's results are noted
                await daemon.stop(signal.SIGKILL)
                daemon = self.start_node()
        for task in MANY:
            await self.nothing_waits(task)
        self.assertEqual(await daemon.stop(), 0)
        for task in MANY:
            # At least once: the server went down between its note and its response, or the node did.
            self.assertEqual([moment for moment, _ in groupby(self.taken(task))], self.fired(task))

    @asynchronous
    async def test_servers_of_two_generations_behind_one_address(self) -> None:
        """Each request goes to either of them. Nothing is lost or doubled, and the log is not flooded."""
        _, daemon = await self.in_front_of("1", "3")
        for _ in range(2):
            await self.takes_results()
        await self.nothing_waits("task-001")
        self.assertEqual(await daemon.stop(), 0)
        self.assertEqual(self.taken("task-001"), self.fired("task-001"))
        self.assertLessEqual(len(self.learned(daemon)), 9)
        self.assertNotIn("is refused", daemon.output)

    @asynchronous
    async def test_a_proxy_that_responds_itself_for_a_while(self) -> None:
        between, daemon = await self.in_front_of("3")
        await self.takes_results()
        for say in (
            Say(b"<h1>Bad gateway</h1>", 502),
            Say(b"", 503),
            Say(b"<html>", 200),
            Say(b"<html>", 404),
        ):
            between.say = say
            await deferLater(reactor, 1.2)
        between.say = None
        await self.nothing_waits("task-001")
        self.assertEqual(await daemon.stop(), 0)
        self.assertEqual(self.taken("task-001"), self.fired("task-001"))
        self.assertEqual(self.learned(daemon), ["3"])

    @asynchronous
    async def test_a_node_that_the_server_does_not_know(self) -> None:
        """Each generation says so in other words, which are shown; the node keeps its tasks."""
        for protocol, words in (("1", "HTTP status 500"), ("2", "code 500"), ("3", "code 4")):
            self.state.switch_faults({"unknown_nodes": False})
            await self.restart_server(protocol)
            daemon = self.start_node()
            await self.takes_results()
            self.state.switch_faults({"unknown_nodes": True})
            await daemon.says(f"not accepted by .*: {words}")
            self.assertNotIn("0 tasks received", daemon.output)
            self.assertEqual(self.learned(daemon), [protocol])
            self.assertEqual(await daemon.stop(), 0)

    @asynchronous
    async def test_a_server_that_is_initializing_for_ever(self) -> None:
        self.start_server(self.server_of("1"))
        daemon = self.start_node()
        await self.takes_results()
        self.state.tasks = ()
        self.state.switch_faults({"initializing": True})
        await deferLater(reactor, 1)
        await self.takes_results()
        self.assertNotIn("0 tasks received", daemon.output)
        self.state.switch_faults({"initializing": False})
        await daemon.says("0 tasks received")

    @asynchronous
    async def test_keys_that_are_wrong_or_missing(self) -> None:
        """Said once, and in /ready; no server is taken for one of another generation because of it."""
        wrong = {**KEYS, "secret_key": "another"}
        for protocol, auth, expected in (("3", wrong, "service auth failed"), ("2", None, "heartbeat.auth")):
            await self.restart_server(protocol)
            daemon = self.start_node(auth=auth)
            await daemon.says(f"HTTP status 401: .*{expected}")
            await deferLater(reactor, 1.5)
            self.assertEqual((daemon.output.count("status 401"), self.learned(daemon)), (1, []))
            (problem,) = await get_json(f"http://127.0.0.1:{self.admin}/ready")
            self.assertRegex(problem["reason"], f"HTTP status 401: .*{expected}")
            self.assertEqual(await daemon.stop(), 0)
