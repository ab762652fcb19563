"""
Events to a plugin behind HTTP: what one costs the node with ever longer task lists, how many go a second.

``python -m benchmarks.plugin [COUNT]`` sends COUNT events (5,000) for each figure, with 32 in flight, through
dispatcher and HTTP adapter to a plugin that responds at once.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from attrs import frozen
from twisted.internet import asyncioreactor

from benchmarks import sink

if __name__ == "__main__":
    asyncioreactor.install()

IN_FLIGHT = 32
TASKS = (10, 1_000, 10_000)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#: Each figure is the median of so many.
ROUNDS = 3


@frozen
class Cost:
    """
    :ivar rate: events/s.
    :ivar cpu: microseconds of this process's time that one took.
    """

    rate: float
    cpu: float


def a_task(number: int) -> dict[str, Any]:
    """A task as control planes send them; its JSON has some 120 bytes."""
    return {
        "id": number,
        "task_id": f"task-{number}",
        "rule_id": "rule-001",
        "planned_exec_node": "node-abc",
        "task_params": '{"symbol": "BTC-USDT"}',
        "invalid": 0,
    }


class Events:
    """The way of an event from a timer to the plugin and back."""

    def __init__(self, port: int, folder: str, reactor: Any) -> None:
        from scfd import build
        from scfd.adapter.http import HttpAdapter
        from scfd.config import AdapterSettings, Config, HttpAdapterSettings
        from scfd.control_plane.client import ControlPlaneClient
        from scfd.control_plane.learning import LearningClient
        from scfd.dispatch import Dispatcher
        from scfd.events.tasks import TaskStore
        from scfd.identity import Identity
        from scfd.reports.delivery import ReportLimits, Reports
        from scfd.reports.outbox import Outbox
        from scfd.reports.state_dir import Folder
        from scfd.status.context import Context

        http = HttpAdapterSettings(name="sink", url=f"http://127.0.0.1:{port}")
        self._tasks = TaskStore()
        identity, context = Identity("node-abc", "v1.0.0"), Context(reactor)
        self.adapter = build.adapter(
            Config(adapter=AdapterSettings(http=http)),
            identity,
            self._tasks,
            context,
            build.Outside({}),
        )
        client = LearningClient(ControlPlaneClient(build.http_client(reactor), reactor), reactor, "1")
        self.reports = Reports(
            Outbox(Folder(folder), reactor), client, identity, context, ReportLimits(64 << 20)
        )
        self._treq: Any = TreqClient(port, reactor)
        self._client = self.adapter._client
        with_treq = HttpAdapter(http, self._treq, None, Context(reactor))
        self._dispatcher, self._with_treq = (
            Dispatcher(adapter, identity, self._tasks, self.reports, context)
            for adapter in (self.adapter, with_treq)
        )

    def set_tasks(self, count: int) -> int:
        """:returns: how many bytes the task list has."""
        from scfd.events.event import Later, TriggerEvent
        from scfd.events.wire import rfc3339
        from scfd.triggers.timer.jobs import timer_payload

        self._tasks.replace([a_task(number) for number in range(count)])
        moment = datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)
        payload = timer_payload(self._tasks.snapshot, moment)
        metadata = {"granularity": "minute", "fire_time": rfc3339(moment)}
        self._event = TriggerEvent(
            "timer", "every-minute", Later(payload.value), metadata, payload_json=payload.parts
        )
        return len(self._tasks.snapshot.json)

    def dispatch(self) -> Any:
        """:returns: a Deferred that fires when the plugin has acted on an event."""
        return self._dispatcher.dispatch(self._event)

    def dispatch_with_treq(self) -> Any:
        """The same with treq as the client."""
        return self._with_treq.dispatch(self._event)

    def post(self, body: Sequence[bytes] = ()) -> Any:
        """The request alone, with the event or something else for a body."""
        return self._client.post_event(body or self._event.to_json_parts(), 30.0, TRACE)

    def post_with_treq(self) -> Any:
        return self._treq.post_event(self._event.to_json_parts(), 30.0, TRACE)


async def send_all(send: Callable[[], Any], count: int) -> Cost:
    """So many events, `IN_FLIGHT` at a time."""
    from twisted.internet.defer import Deferred, gatherResults

    left = count
    ended: list[Deferred[None]] = [Deferred() for _ in range(IN_FLIGHT)]

    def next_one(_: object, end: Deferred[None]) -> None:
        nonlocal left
        if left:
            left -= 1
            send().addCallbacks(next_one, end.errback, (end,))
        else:
            end.callback(None)

    cpu, began = time.process_time(), time.monotonic()
    for end in ended:
        next_one(None, end)
    await gatherResults(ended)
    return Cost(count / (time.monotonic() - began), (time.process_time() - cpu) / count * 1e6)


def median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.rate for cost in costs), statistics.median(cost.cpu for cost in costs))


class TreqClient:
    """What `scfd.adapter.calls.PluginClient` does for events, through treq."""

    def __init__(self, port: int, reactor: Any) -> None:
        from scfd.build import http_client
        from scfd.http1.activity import Activity

        self.activity = Activity(reactor)
        self._http = http_client(reactor)
        self._url = f"http://127.0.0.1:{port}/on-trigger"

    def post_event(self, body: Sequence[bytes], timeout: float, traceparent: str, path: str = "") -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(self._post(b"".join(body), timeout, traceparent))

    async def _post(self, body: bytes, timeout: float, traceparent: str) -> Any:
        from twisted.web.http_headers import Headers

        from scfd.adapter.calls import PluginResponse

        headers = Headers({"Content-Type": ["application/json"], "traceparent": [traceparent]})
        response = await self._http.post(self._url, data=body, headers=headers, timeout=timeout)
        return PluginResponse(response.code, await response.content())


def copying(size: int) -> float:
    """:returns: microseconds in which so many bytes are copied once in memory."""
    source, target = bytes(size), bytearray(size)
    began = time.process_time()
    for _ in range(1_000):
        target[:] = source
    return (time.process_time() - began) * 1_000


async def measure(port: int, count: int, reactor: Any) -> None:
    from scfd.lifecycle import freeze_heap

    with tempfile.TemporaryDirectory() as folder:
        events = Events(port, folder, reactor)
        await events.reports.startService()
        await events.adapter.startService()
        events.set_tasks(TASKS[0])
        freeze_heap()
        await send_all(events.dispatch, 500)
        print(f"{TASKS[0]} tasks, {IN_FLIGHT} in flight                events/s   CPU of one, us")
        await compare("POST /on-trigger alone", events.post, events.post_with_treq, count)
        await compare("dispatcher and adapter", events.dispatch, events.dispatch_with_treq, count)
        await measure_sizes(events, count)
        await events.adapter.stopService()
        await events.reports.stopService()


async def compare(what: str, ours: Callable[[], Any], with_treq: Callable[[], Any], count: int) -> None:
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(ROUNDS):
        costs[0].append(await send_all(ours, count))
        costs[1].append(await send_all(with_treq, count // 5))
    mine, theirs = map(median, costs)
    for name, cost in ((what, mine), (f"{what}, treq", theirs)):
        print(f"  {name:<36} {cost.rate:>8,.0f} {cost.cpu:>16.0f}")
    print(f"  {mine.rate / theirs.rate:.1f} times treq's rate", flush=True)


async def measure_sizes(events: Events, count: int) -> None:
    print("                      CPU, us: of an event   of a POST of as many bytes   of copying them once")
    for number in TASKS:
        size = events.set_tasks(number)
        ready = [bytes(size)]
        event, post = [], []
        for _ in range(ROUNDS):
            event.append(await send_all(events.dispatch, count // 2))
            post.append(await send_all(lambda body=ready: events.post(body), count // 2))
        print(
            f"{number:>6,} tasks, {size:>9,} B {median(event).cpu:>18.0f} {median(post).cpu:>27.0f}"
            f" {copying(size):>24.1f}",
            flush=True,
        )


def main() -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with sink.running() as port:

        def run() -> None:
            done = Deferred.fromCoroutine(measure(port, count, reactor))
            done.addErrback(lambda failure: failure.printTraceback(sys.stderr))
            done.addCallback(lambda _: reactor.stop())

        reactor.callWhenRunning(run)
        reactor.run()


if __name__ == "__main__":
    main()
