"""Long lists and responses do not hold the reactor up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from weakref import ref

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from scfd.events.long_json import without_collections
from scfd.events.response import parse_response
from scfd.events.tasks import TaskSnapshot, TaskStore, read_tasks
from scfd.triggers.timer.jobs import timer_payload
from tests.integration.daemon import reactor, until
from tests.integration.node import NodeTestCase, asynchronous
from tests.integration.scripted import Say
from tests.integration.turns import Turns

#: Seconds that the reactor may be held up; see `Turns`. Of some runs the best counts.
LONGEST = 0.02
RUNS = 5
#: The same for a whole node, once. Alone on the machine it is below the other limit; the tests have
#: neighbours, and a thread that computes goes on while the reactor waits for a core.
LONGEST_OF_A_NODE = 0.1


class StallTests(TestCase):
    timeout = 60

    async def stall(self, function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
        """:returns: seconds that the reactor was held up at most while a function ran in a thread."""
        best, result = 9.9, None
        for _ in range(RUNS):
            result = None
            turns = Turns()
            result = await deferToThread(without_collections, function, *args)
            await turns.stop()
            best = min(best, turns.longest)
            if best < LONGEST:
                break
        return best, result

    async def test_100_000_tasks(self) -> None:
        params = json.dumps({"data_source": "binance", "symbol": "BTC-USDT", "intervals": ["1m", "1h"]})
        entries = [
            {"id": n, "task_id": f"task-{n * 7919 % 100_000}", "task_params": params, "invalid": 0}
            for n in range(100_000)
        ]
        stall, snapshot = await self.stall(read_tasks, entries)

        self.assertLess(stall, LONGEST)
        assert isinstance(snapshot, TaskSnapshot)
        self.assertEqual(len(snapshot.jobs or ()), 200_000)

    async def test_the_jobs_of_long_lists(self) -> None:
        params = json.dumps({"intervals": ["1m", "1h"]})
        for count in (5_000, 10_000, 100_000):
            snapshot = read_tasks([{"task_id": f"task-{n}", "task_params": params} for n in range(count)])
            assert snapshot is not None
            began = time.process_time()
            payload = timer_payload(snapshot, datetime(2026, 1, 1, 1, tzinfo=timezone.utc))
            self.assertGreater(sum(map(len, payload.parts)), 200 * count)
            self.assertLess(time.process_time() - began, LONGEST)

    async def test_a_list_of_100_000_tasks_that_is_replaced(self) -> None:
        """Freed in one go it would hold the reactor for 40 ms."""
        params = json.dumps({"data_source": "binance", "symbol": "BTC-USDT", "intervals": ["1m", "1h"]})
        store = TaskStore()

        def another(first: int) -> TaskSnapshot | None:
            return read_tasks(
                [{"task_id": f"task-{n}", "task_params": params} for n in range(first, 100_000)]
            )

        best = 9.9
        for run in range(RUNS):
            store.take(await deferToThread(another, run))
            snapshot = await deferToThread(another, run + 1)
            payload = timer_payload(store.snapshot, datetime(2026, 1, 1, 1, tzinfo=timezone.utc))
            self.assertEqual(len(payload.jobs), 3)
            gone = ref(payload.snapshot)
            del payload
            turns = Turns()
            store.take(snapshot)
            await deferLater(reactor, 0.5)
            await turns.stop()
            self.assertIsNone(gone())
            best = min(best, turns.longest)
            if best < LONGEST:
                break
        self.assertLess(best, LONGEST)

    async def test_a_response_of_31_mib(self) -> None:
        entry = {"status": 2, "result": "x" * 560}
        body = json.dumps(
            {"task_results": [{"task_id": f"task-{n}", **entry} for n in range(50_000)]}
        ).encode()
        self.assertGreater(len(body), 29 << 20)
        stall, parsed = await self.stall(parse_response, body)

        self.assertLess(stall, LONGEST)
        self.assertEqual(len(parsed[0].task_results), 50_000)


class NodeTests(NodeTestCase):
    """A whole node, whose plugin notes how long the reactor has no turn."""

    @asynchronous
    async def test_100_000_tasks_their_jobs_and_50_000_results(self) -> None:
        params = json.dumps({"data_source": "binance", "symbol": "BTC-USDT", "intervals": ["1m", "1h"]})
        tasks = [{"id": n, "task_id": f"task-{n}", "task_params": params} for n in range(100_000)]
        response = json.dumps({"code": 200, "data": [{"tasks_md5": "x", "task_instances": tasks}]}).encode()

        async def delivered() -> bool:
            return len(self.server.reports) > 500

        self.server.on_heartbeat = lambda heard: Say(response)
        longest = self.folder / "longest"
        settings = {"results": 50_000, "longest": str(longest)}
        daemon = self.start(plugin=settings, native="turns", interval=3)
        await daemon.says("100000 tasks received")
        self.server.on_heartbeat = lambda heard: Say(response) if self.server.reports else Say()
        await until(delivered, "results delivered")
        self.assertEqual(await daemon.stop(), 0, daemon.output)
        self.assertLess(float(longest.read_text()), LONGEST_OF_A_NODE)
