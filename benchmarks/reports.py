"""
Task results: how long a burst holds the reactor up, and how fast it is delivered.

``python -m benchmarks.reports [COUNT]`` puts COUNT results (10,000) into an outbox at once, while a
call every millisecond watches how long the reactor is away, and delivers them to a server in a
process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

from twisted.internet import asyncioreactor

if __name__ == "__main__":
    asyncioreactor.install()

SERVER = """
import asyncio
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0])
            await reader.readexactly(length)
            writer.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 12\\r\\n\\r\\n{"code":200}')
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
        LoopingCall(self._look).start(0.001)

    def _look(self) -> None:
        now = self._reactor.seconds()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def take(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest


async def measure(reactor: Any, count: int, port: int) -> None:
    from twisted.internet.task import deferLater

    from scfd.build import http_client
    from scfd.control_plane.client import ControlPlaneClient
    from scfd.control_plane.learning import LearningClient
    from scfd.events.event import TaskResult
    from scfd.identity import Identity, ServerAddress
    from scfd.lifecycle import freeze_heap
    from scfd.reports.delivery import Reports
    from scfd.reports.outbox import Outbox
    from scfd.status.context import Context

    stalls = Stalls(reactor)
    identity = Identity("node", "v1", ServerAddress("127.0.0.1", port))
    client = LearningClient(ControlPlaneClient(http_client(reactor), reactor), reactor, "1")
    with tempfile.TemporaryDirectory() as folder:
        reports = Reports(Outbox(folder, reactor), client, identity, Context(reactor), 64 << 20)
        await reports.startService()
        results = [TaskResult(f"task-{number % 1000}", 2, "why it was as it was") for number in range(count)]
        freeze_heap()
        await deferLater(reactor, 0.2)
        stalls.take()
        began = reactor.seconds()
        await reports.put(results)
        accepted = reactor.seconds() - began
        stall = stalls.take() * 1000
        print(f"accepted {count} results in {accepted * 1000:.0f} ms; longest stall {stall:.1f} ms")
        while reports.pending():
            await deferLater(reactor, 0.01)
        took = reactor.seconds() - began
        print(f"delivered {count / took:.0f} results/s; longest stall {stalls.take() * 1000:.1f} ms")
        await reports.stopService()


def main() -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())

    def run() -> None:
        done = Deferred.fromCoroutine(measure(reactor, count, port))
        done.addErrback(lambda failure: failure.printTraceback())
        done.addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(run)
    reactor.run()
    server.kill()


if __name__ == "__main__":
    main()
