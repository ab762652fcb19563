"""
Events to a plugin behind HTTP: what one costs the node with ever longer task lists, how many go a second.

``python -m benchmarks.plugin [COUNT]`` sends COUNT events (5,000) for each figure, with 32 in flight, through
dispatcher and HTTP adapter to a plugin that answers at once.
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, cast

from attrs import frozen
from twisted.internet import asyncioreactor

from benchmarks import sink

if __name__ == "__main__":
    asyncioreactor.install()

IN_FLIGHT = 32
TASKS = (10, 1_000, 10_000)
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
        from scfd import assembly
        from scfd.adapter.http import HttpAdapter
        from scfd.availability import Availability
        from scfd.config import Adapter, Config
        from scfd.config import HttpAdapter as Settings
        from scfd.dispatch import Dispatcher
        from scfd.metrics import Metrics
        from scfd.moox.client import ControlPlaneClient
        from scfd.moox.outbox import Outbox
        from scfd.moox.reports import Reports
        from scfd.readiness import Readiness
        from scfd.runtime import Runtime
        from scfd.tasks import TaskStore

        http = Settings(name="sink", url=f"http://127.0.0.1:{port}")
        self.tasks = TaskStore()
        runtime, metrics, available = Runtime("node-abc", "v1.0.0"), Metrics(), Availability()
        self.adapter = assembly.adapter(
            Config(adapter=Adapter(http=http)),
            runtime,
            self.tasks,
            Readiness(time.time),
            available,
            metrics,
            reactor,
        )
        client = ControlPlaneClient(assembly.http_client(reactor), reactor)
        self.reports = Reports(Outbox(folder, reactor), client, runtime, metrics, reactor, 64 << 20)
        with_treq = HttpAdapter(
            http,
            cast(Any, TreqClient(port, reactor)),
            None,
            Readiness(time.time),
            available,
            metrics,
            reactor,
        )
        self._dispatcher, self._with_treq = (
            Dispatcher(adapter, runtime, self.tasks, self.reports, metrics, reactor)
            for adapter in (self.adapter, with_treq)
        )
        self._moment = datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)

    def send(self) -> Any:
        """:returns: a Deferred that fires when the plugin has acted on an event."""
        return self._dispatcher.dispatch(self._event())

    def send_with_treq(self) -> Any:
        """The same with treq as the client."""
        return self._with_treq.dispatch(self._event())

    def _event(self) -> Any:
        from scfd.jobs import timer_payload
        from scfd.model import TriggerEvent
        from scfd.wire import rfc3339

        payload, encoded = timer_payload(self.tasks.snapshot, self._moment)
        metadata = {"granularity": "minute", "fire_time": rfc3339(self._moment)}
        return TriggerEvent("timer", "every-minute", payload, metadata, payload_json=encoded)


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
    """What `scfd.adapter.client.PluginClient` does for events, through treq."""

    def __init__(self, port: int, reactor: Any) -> None:
        from scfd.assembly import http_client

        self._http = http_client(reactor)
        self._url = f"http://127.0.0.1:{port}/on-trigger"

    def post_event(self, body: Sequence[bytes], timeout: float, traceparent: str) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(self._post(b"".join(body), timeout, traceparent))

    async def _post(self, body: bytes, timeout: float, traceparent: str) -> Any:
        from scfd.adapter.client import Answer

        headers = {"Content-Type": ["application/json"], "traceparent": [traceparent]}
        response = await self._http.post(self._url, data=body, headers=headers, timeout=timeout)
        return Answer(response.code, await response.content())


def copied(size: int, port: int, count: int) -> float:
    """:returns: microseconds of CPU in which so many bytes go out through a plain blocking socket."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, body = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size, bytes(size)
        began = time.process_time()
        for _ in range(count):
            connection.sendall(head)
            connection.sendall(body)
            connection.recv(4096)
        return (time.process_time() - began) / count * 1e6


async def measure(port: int, count: int, reactor: Any) -> None:
    from scfd.lifecycle import freeze_heap

    with tempfile.TemporaryDirectory() as folder:
        events = Events(port, folder, reactor)
        await events.reports.startService()
        await events.adapter.startService()
        events.tasks.replace([a_task(number) for number in range(TASKS[0])])
        freeze_heap()
        await send_all(events.send, 500)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(await send_all(events.send, count))
            theirs.append(await send_all(events.send_with_treq, count // 5))
        print_rates(median(ours), median(theirs))
        await measure_sizes(events, port, count)
        await events.adapter.stopService()
        await events.reports.stopService()


def print_rates(ours: Cost, theirs: Cost) -> None:
    print(f"{TASKS[0]} tasks, {IN_FLIGHT} in flight      events/s   CPU of one, us")
    for name, cost in (("scfd", ours), ("the same with treq", theirs)):
        print(f"  {name:<28} {cost.rate:>8,.0f} {cost.cpu:>16.0f}")
    print(f"  {ours.rate / theirs.rate:.1f} times treq's rate")


async def measure_sizes(events: Events, port: int, count: int) -> None:
    print("tasks     bytes   CPU of an event, us   more than with 10   of that, sending as many bytes")
    first: tuple[float, float] | None = None
    for number in TASKS:
        events.tasks.replace([a_task(index) for index in range(number)])
        size = len(events.tasks.snapshot.json)
        cost = median([await send_all(events.send, count // 2) for _ in range(ROUNDS)])
        plain = statistics.median(copied(size, port, count // 5) for _ in range(ROUNDS))
        first = first or (cost.cpu, plain)
        more = f"{cost.cpu - first[0]:>19.0f} {plain - first[1]:>32.0f}"
        print(f"{number:>6,} {size:>8,} {cost.cpu:>21.0f} {more}", flush=True)


def main() -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with sink.running() as port:

        def run() -> None:
            done = Deferred.fromCoroutine(measure(port, count, reactor))
            done.addErrback(lambda failure: failure.printTraceback())
            done.addCallback(lambda _: reactor.stop())  # type: ignore[attr-defined]

        reactor.callWhenRunning(run)  # type: ignore[attr-defined]
        reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
