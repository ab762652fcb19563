"""
Task plugins: how long many tasks take, and what the node adds to each.

``python -m benchmarks.tasks [COUNT]`` runs COUNT tasks (1,000) through dispatcher, runner, a native plugin
and an outbox on disk, three times each, and prints medians:

* 50 at once, 100 ms each: the time beside the ideal one, COUNT / 50 * 100 ms;
* tasks that await once (``asyncio.sleep(0)``) and return a text: the CPU of one, all threads together, beside
  calling the coroutine directly, and beside a task of asyncio for each under a semaphore.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import TYPE_CHECKING, Any

from twisted.internet import asyncioreactor
from zope.interface import implementer

from scfd.interfaces import ITaskPlugin

if TYPE_CHECKING:
    from scfd.dispatch import Dispatcher
    from scfd.events import Task, TriggerEvent
    from scfd.reports.delivery import Reports

if __name__ == "__main__":
    asyncioreactor.install()

CONCURRENCY, SECONDS, ROUNDS = 50, 0.1, 3


@implementer(ITaskPlugin)
class Plugin:
    name = "bench"
    seconds = SECONDS

    def init(self, framework: Any) -> None:
        """Nothing to get ready."""

    async def on_task(self, task: Task, event: TriggerEvent) -> str:
        await asyncio.sleep(self.seconds)
        return "done"


async def make_dispatcher(
    plugin: Plugin, count: int, folder: str, reactor: Any
) -> tuple[Dispatcher, Reports]:
    from twisted.internet.defer import DeferredSemaphore

    from scfd.adapter.native import Framework, NativeAdapter
    from scfd.adapter.tasks import TaskLimits, TaskRunner
    from scfd.build import http_client
    from scfd.config import Config
    from scfd.control_plane.client import ControlPlaneClient
    from scfd.control_plane.learning import LearningClient
    from scfd.dispatch import Dispatcher
    from scfd.events import TaskStore
    from scfd.identity import Identity
    from scfd.reports.delivery import ReportLimits, Reports
    from scfd.reports.outbox import Outbox
    from scfd.reports.state_dir import Folder
    from scfd.status.context import Context

    context, identity, tasks = Context(reactor), Identity("node", "v1"), TaskStore()
    context.availability.set(True)
    tasks.replace(
        [{"task_id": f"task-{number}", "task_params": '{"symbol": "A"}'} for number in range(count)]
    )
    client = LearningClient(ControlPlaneClient(http_client(reactor), reactor), reactor)
    # Nobody has told this node where its control plane is: results stay in the outbox.
    reports = Reports(Outbox(Folder(folder), reactor), client, identity, context, ReportLimits(1 << 30))
    await reports.startService()
    adapter = NativeAdapter(plugin, Framework(Config(), identity, tasks), None, context)
    runner = TaskRunner(adapter, {"t": TaskLimits(30.0, 0, DeferredSemaphore(CONCURRENCY))}, context)
    dispatcher = Dispatcher(runner, identity, tasks, reports, context)
    runner.report = dispatcher.report_early
    return dispatcher, reports


async def measured(work: Callable[[], Coroutine[Any, Any, None]]) -> tuple[float, float]:
    """:returns: seconds that have passed, and seconds of CPU; medians."""
    figures = []
    for _ in range(ROUNDS):
        began, cpu = time.perf_counter(), time.process_time()
        await work()
        figures.append((time.perf_counter() - began, time.process_time() - cpu))
    return median(wall for wall, _ in figures), median(cpu for _, cpu in figures)


async def measure(count: int, reactor: Any) -> None:
    from scfd.deferreds import from_asyncio
    from scfd.events import Task, TriggerEvent

    plugin, event = Plugin(), TriggerEvent("timer", "t")
    with tempfile.TemporaryDirectory() as folder:
        dispatcher, reports = await make_dispatcher(plugin, count, folder, reactor)

        async def through_the_node() -> None:
            await dispatcher.dispatch(event)

        wall, _ = await measured(through_the_node)
        ideal = count / CONCURRENCY * SECONDS
        print(f"{count} tasks of {SECONDS:g} s, {CONCURRENCY} at once: {wall:.3f} s,", end=" ")
        print(f"{wall / ideal:.3f} of the ideal")
        plugin.seconds = 0
        tasks = [Task({"task_id": str(number), "task_params": '{"symbol": "A"}'}) for number in range(count)]
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(task: Task) -> None:
            async with slots:
                await plugin.on_task(task, event)

        async def directly() -> None:
            for task in tasks:
                await plugin.on_task(task, event)

        async def in_tasks() -> None:
            await asyncio.gather(*map(one, tasks))

        _, direct = await measured(lambda: _waited(from_asyncio, directly))
        _, gathered = await measured(lambda: _waited(from_asyncio, in_tasks))
        _, node = await measured(through_the_node)
        for name, cpu in (
            ("called directly", direct),
            ("a task of asyncio each", gathered),
            ("the node", node),
        ):
            print(f"CPU of a task, {name}: {cpu / count * 1e6:.1f} us, {cpu / direct:.1f} of the direct call")
        await reports.stopService()


async def _waited(run: Callable[..., Any], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await run(work())


def main(reactor: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, reactor))


if __name__ == "__main__":
    from twisted.internet.task import react

    react(main)
