"""What a node meets at the development control plane: over HTTP, and in memory as in `scfd.testing`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import TimeoutError

from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.control_plane.generations import heartbeat_request, path, report_request
from scfd.control_plane.learning import HEARTBEAT
from scfd.control_plane.signing import Signer
from scfd.dev.state import ControlPlaneState, Faults
from scfd.dev.task_file import parse_tasks
from scfd.events.event import TaskResult, TaskStatus
from scfd.events.wire import from_json
from scfd.reports.delivery import PATH
from tests.jetstream_contract import runs

NOW = 1795470480.0
KEYS = Signer("ak", "sk", lambda: NOW)
TASKS = parse_tasks("[{task_id: a}, {task_id: b, task_params: {x: 1}}]", "t")


class ControlPlaneContract:
    """A mixin. ``connect`` makes a control plane of a state, generation and keys: its client and URL."""

    assertEqual: Any  # noqa: N815 - trial's
    connect: Callable[[ControlPlaneState, str, Signer | None], tuple[ControlPlaneClient, str]]

    def begin(self, generation: int) -> None:
        self.state = ControlPlaneState(lambda: NOW)
        self.state.tasks = TASKS
        keys = KEYS if generation > 1 else None
        self.client, self.url = self.connect(self.state, str(generation), keys)
        self.generation = generation

    async def post(self, method: str, value: object, seconds: float = 5.0) -> ServerResponse:
        url = self.url + path(self.generation, method, "/gateway")
        return await self.client.post(url, value, seconds)

    async def heartbeat(self) -> Any:
        message = {"node_id": "n", "node_type": "scf", "running_version": "v1", "tasks_md5": "none"}
        return await self.post(HEARTBEAT, heartbeat_request(self.generation, message))

    async def report(self, task_id: str) -> ServerResponse:
        result = TaskResult(task_id, TaskStatus.SUCCESS, "well")
        return await self.post(PATH, report_request(self.generation, "n", result))

    async def seen(self) -> list[ServerResponse]:
        """What each kind of call is responded with."""
        responses = [await self.heartbeat(), await self.report("a"), await self.report("unknown")]
        self.state.switch_faults({"refuse": ["a"]})
        responses.append(await self.report("a"))
        responses += [await self.post(HEARTBEAT, {"node_id": 7}), await self.post("/other/Method", {})]
        self.state.switch_faults({"status": 503})
        responses.append(await self.report("a"))
        return responses

    @runs
    async def test_all_generations(self) -> None:
        for generation, expected in SEEN.items():
            self.begin(generation)
            responses = await self.seen()
            seen = [f"{one.status} {one.trpc_ret}{one.body[:40].decode()}" for one in responses]
            self.assertEqual(seen, expected, generation)
            whole = from_json(responses[0].body)
            orders = whole["data"][0] if generation < 3 else whole
            self.assertEqual([task["task_id"] for task in orders["task_instances"]], ["a", "b"])
            self.assertEqual(self.state.as_json()["counts"]["by_task"]["a"], 1)

    @runs
    async def test_without_a_signature(self) -> None:
        for generation in (2, 3):
            self.begin(generation)
            self.client = self.connect(self.state, str(generation), Signer("other", "sk", lambda: NOW))[0]
            self.client._signer = None
            self.assertEqual((await self.heartbeat()).status, 401)

    @runs
    async def test_away_and_back(self) -> None:
        self.begin(1)
        self.state.switch_faults({"down": True})
        try:
            await self.heartbeat()
            raise AssertionError("there is a response")
        except Exception as error:
            self.assertEqual(isinstance(error, (TimeoutError, AssertionError)), False)
        self.state.faults = Faults()
        self.assertEqual((await self.heartbeat()).status, 200)

    @runs
    async def test_slow(self) -> None:
        self.begin(1)
        self.state.switch_faults({"slow": 0.3})
        began = asyncio.get_running_loop().time()
        self.assertEqual((await self.heartbeat()).status, 200)
        self.assertEqual(asyncio.get_running_loop().time() - began >= 0.3, True)
        try:
            await self.post(HEARTBEAT, {"node_id": "n"}, 0.1)
            raise AssertionError("there is a response")
        except TimeoutError as error:
            self.assertEqual(str(error), "no response after 0.1 s")


#: By generation, the beginning of each response in `ControlPlaneContract.seen`.
SEEN: dict[int, list[str]] = {
    1: [
        '200 {"code":200,"message":"heartbeat reporte',
        '200 {"code":200,"message":"ok"}',
        '200 {"code":200,"message":"ok"}',
        '500 {"code":500,"message":"request failed wi',
        '500 {"code":500,"message":"request failed wi',
        '200 {"ret_info":{"code":3,"msg":"no permissi',
        '503 {"code":503,"message":"a fault that is s',
    ],
    2: [
        '200 {"code":200,"message":"heartbeat reporte',
        '200 {"code":200,"message":"ok"}',
        '200 {"code":200,"message":"ok"}',
        '500 {"code":500,"message":"request failed wi',
        '200 {"code":400,"message":"node_id: text tha',
        "404 404 page not found\n",
        '503 {"code":503,"message":"a fault that is s',
    ],
    3: [
        '200 {"ret_info":{"code":0,"msg":""},"package',
        '200 {"ret_info":{"code":0,"msg":""}}',
        '200 {"ret_info":{"code":4,"msg":"no instance',
        '200 {"ret_info":{"code":5,"msg":"reports of ',
        '200 {"ret_info":{"code":1,"msg":"node_id has',
        '200 999{"ret_info":{"code":999,"msg":"no such s',
        '503 {"code":503,"message":"a fault that is s',
    ],
}
