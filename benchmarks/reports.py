"""
Task results: how long many of them hold the reactor up, and how fast they are delivered.

``python -m benchmarks.reports [COUNT]``, while a call every millisecond watches how long the reactor is away:

* puts COUNT results (10,000) of 1,000 tasks into an outbox at once, and delivers them to a server in another
  process;
* starts with ten times COUNT results that an earlier run has left, each of another task, while the server
  responds with status 503, and counts the tries of 13 seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from twisted.internet import asyncioreactor

if TYPE_CHECKING:
    from scfd.reports.delivery import Reports
    from scfd.status.metrics import Metrics

if __name__ == "__main__":
    asyncioreactor.install()

#: Bytes of results that may wait.
LIMIT = 256 << 20

SERVER = """
import asyncio, sys
STATUS = sys.argv[1].encode()
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0])
            await reader.readexactly(length)
            head = b'HTTP/1.1 ' + STATUS + b' X\\r\\nContent-Length: 12\\r\\n\\r\\n'
            writer.write(head + b'{"code":' + STATUS + b'}')
    except asyncio.IncompleteReadError:
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Stalls:
    """The longest time that the reactor was away, in seconds."""

    def __init__(self, reactor: Any) -> None:
        from twisted.internet.task import LoopingCall

        self._reactor = reactor
        self._last = reactor.seconds()
        self.longest = 0.0
        self._looking = LoopingCall(self._look)
        self._looking.start(0.001)

    def _look(self) -> None:
        now = self._reactor.seconds()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def take(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest

    def stop(self) -> None:
        self._looking.stop()


def make_reports(reactor: Any, folder: str, port: int) -> tuple[Reports, Metrics]:
    from scfd.build import http_client
    from scfd.control_plane.client import ControlPlaneClient
    from scfd.control_plane.learning import LearningClient
    from scfd.identity import Identity, ServerAddress
    from scfd.reports.delivery import ReportLimits, Reports
    from scfd.reports.outbox import Outbox
    from scfd.reports.state_dir import Folder
    from scfd.status.context import Context

    identity = Identity("node", "v1", ServerAddress("127.0.0.1", port))
    client = LearningClient(ControlPlaneClient(http_client(reactor), reactor), reactor, "1")
    context = Context(reactor)
    return Reports(
        Outbox(Folder(folder), reactor), client, identity, context, ReportLimits(LIMIT)
    ), context.metrics


async def measure_burst(reactor: Any, count: int, port: int) -> None:
    from twisted.internet.task import deferLater

    from scfd.events.event import TaskResult
    from scfd.lifecycle import freeze_heap

    stalls = Stalls(reactor)
    with tempfile.TemporaryDirectory() as folder:
        reports, _ = make_reports(reactor, folder, port)
        await reports.startService()
        results = [TaskResult(f"task-{number % 1000}", 2, "why it was as it was") for number in range(count)]
        freeze_heap()
        await deferLater(reactor, 0.2)
        stalls.take()
        began = reactor.seconds()
        await reports.put(results)
        accepted = reactor.seconds() - began
        await deferLater(reactor, 0.1)
        stall = stalls.take() * 1000
        print(f"accepted {count} results in {accepted * 1000:.0f} ms; longest stall {stall:.1f} ms")
        while reports.pending():
            await deferLater(reactor, 0.01)
        took = reactor.seconds() - began
        print(f"delivered {count / took:.0f} results/s; longest stall {stalls.take() * 1000:.1f} ms")
        await reports.stopService()
    stalls.stop()


async def measure_outage(reactor: Any, count: int, port: int) -> None:
    from twisted.internet.task import deferLater

    from scfd.events.event import TaskResult
    from scfd.lifecycle import freeze_heap
    from scfd.reports.outbox import Outbox
    from scfd.reports.state_dir import Folder

    with tempfile.TemporaryDirectory() as folder:
        held = Folder(folder)
        earlier = Outbox(held, reactor)
        await earlier.open()
        await earlier.append("node", [TaskResult(f"task-{number}", 2, "why") for number in range(count)])
        await earlier.close()
        held.release()
        freeze_heap()
        stalls = Stalls(reactor)
        await deferLater(reactor, 0.2)
        stalls.take()
        began = reactor.seconds()
        reports, metrics = make_reports(reactor, folder, port)
        await reports.startService()
        started = reactor.seconds() - began
        await deferLater(reactor, 2)
        stall = stalls.take() * 1000
        print(f"{count} results of an earlier run: started in {started:.2f} s; longest stall {stall:.1f} ms")
        await deferLater(reactor, 11)
        tries = metrics.registry.get_sample_value("scfd_reports_total", {"outcome": "unavailable"}) or 0
        stall = stalls.take() * 1000
        print(f"status 503 for 13 s: {tries:.0f} tries; longest stall after the start {stall:.1f} ms")
        await reports.stopService()


class Server:
    """A server in a process of its own that responds with one status."""

    def __init__(self, status: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(status)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

    async def measure() -> None:
        for measured, status, results in ((measure_burst, 200, count), (measure_outage, 503, 10 * count)):
            server = Server(status)
            try:
                await measured(reactor, results, server.port)
            finally:
                server.stop()

    def run() -> None:
        done = Deferred.fromCoroutine(measure())
        done.addErrback(lambda failure: failure.printTraceback())
        done.addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(run)
    reactor.run()


if __name__ == "__main__":
    main()
