"""
What else calls a function each second and POSTs to a plugin, for comparison.

``python -m benchmarks.peers apscheduler PORT`` or ``looping-call PORT`` does so until it is killed. Both
send what they would have to send as an event over one connection that they keep open.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime, timezone


class Client:
    """POSTs events through plain asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, scheduled: int) -> None:
        """
        :param scheduled: seconds since the epoch.
        """
        moment = datetime.fromtimestamp(scheduled, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = json.dumps({"name": "peer", "metadata": {"fire_time": moment}}).encode()
        self._writer.write(
            b"POST /on-trigger HTTP/1.1\r\nHost: plugin\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))


async def apscheduler(port: int) -> None:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]

    client = Client(*await asyncio.open_connection("127.0.0.1", port))

    async def job() -> None:
        # It does not tell its jobs when they were scheduled; the nearest second is it.
        await client.post(round(time.time()))

    scheduler = AsyncIOScheduler(timezone=timezone.utc)
    scheduler.add_job(job, CronTrigger(second="*", timezone=timezone.utc))
    scheduler.start()
    await asyncio.Event().wait()


async def looping_call(port: int) -> None:
    from twisted.internet import reactor
    from twisted.internet.task import LoopingCall

    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    posts: set[asyncio.Task[None]] = set()  # asyncio itself keeps none of its tasks alive

    def call() -> None:
        # It keeps the phase it was started in, so it can only be late for the second that has begun.
        post = asyncio.ensure_future(client.post(int(time.time())))
        posts.add(post)
        post.add_done_callback(posts.discard)

    loop = LoopingCall(call)
    loop.clock = reactor
    await loop.start(1).asFuture(asyncio.get_running_loop())


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "apscheduler":
        asyncio.run(apscheduler(port))
        return
    loop = asyncio.new_event_loop()
    from twisted.internet import asyncioreactor

    asyncioreactor.install(loop)
    from twisted.internet import reactor

    task = loop.create_task(looping_call(port))
    reactor.run()
    task.cancel()


if __name__ == "__main__":
    main()
