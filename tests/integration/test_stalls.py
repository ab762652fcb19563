"""Long lists and responses do not hold the reactor up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from scfd.events.response import parse_response
from scfd.events.tasks import TaskSnapshot, read_tasks
from scfd.triggers.timer.jobs import timer_payload

#: Seconds that the reactor may be held up. Of three runs the best counts: the machine has other work.
LONGEST = 0.02
RUNS = 5


class StallTests(TestCase):
    timeout = 60

    async def stall(self, function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
        """:returns: seconds that the reactor was held up at most while a function ran in a thread."""
        best, result = 9.9, None
        for _ in range(RUNS):
            result = None
            seen = [time.perf_counter()]
            loop = LoopingCall(lambda seen=seen: seen.append(time.perf_counter()))
            done = loop.start(0.001, now=False)
            result = await deferToThread(function, *args)
            seen.append(time.perf_counter())
            loop.stop()
            await done
            best = min(best, max(b - a for a, b in pairwise(seen)))
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

    async def test_the_jobs_of_10_000_tasks(self) -> None:
        params = json.dumps({"intervals": ["1m", "1h"]})
        snapshot = read_tasks([{"task_id": f"task-{n}", "task_params": params} for n in range(10_000)])
        assert snapshot is not None
        began = time.perf_counter()
        payload = timer_payload(snapshot, datetime(2026, 1, 1, 1, tzinfo=timezone.utc))
        self.assertGreater(len(payload.parts), 4)
        self.assertLess(time.perf_counter() - began, LONGEST)

    async def test_a_response_of_31_mib(self) -> None:
        entry = {"status": 2, "result": "x" * 560}
        body = json.dumps(
            {"task_results": [{"task_id": f"task-{n}", **entry} for n in range(50_000)]}
        ).encode()
        self.assertGreater(len(body), 29 << 20)
        stall, parsed = await self.stall(parse_response, body)

        self.assertLess(stall, LONGEST)
        self.assertEqual(len(parsed[0].task_results), 50_000)
