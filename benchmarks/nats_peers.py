"""
What else handles the messages of a JetStream consumer, for comparison.

``python -m benchmarks.nats_peers fetch URL CONSUMER CONCURRENCY SECONDS`` or ``faststream …`` handles them
until it is killed, so many at once, each for so many seconds. ``faststream-10`` is ``faststream`` with pull
requests for ten, which it handles all at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import nats
from nats.aio.msg import Msg

#: What all of them read.
STREAM, SUBJECT = "BENCH", "bench.message"


async def fetch(url: str, consumer: str, concurrency: int, seconds: float) -> None:
    """The loop that nats-py's documentation has: in order; with concurrency a batch at once."""
    connection = await nats.connect(url)
    subscription = await connection.jetstream().pull_subscribe_bind(consumer, STREAM)

    async def handle(message: Msg) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        await message.ack()

    while True:
        messages = await subscription.fetch(10 if concurrency == 1 else concurrency)
        if concurrency == 1:
            for message in messages:
                await handle(message)
        else:
            await asyncio.gather(*map(handle, messages))


def faststream(batch: int) -> Callable[[str, str, int, float], Coroutine[Any, Any, None]]:
    """
    :param batch: for how many messages its pull requests are where it has no workers.
    """

    async def run(url: str, consumer: str, concurrency: int, seconds: float) -> None:
        from faststream.nats import JStream, NatsBroker, PullSub

        broker = NatsBroker(url, logger=None)  # it would write two lines for each message

        @broker.subscriber(
            SUBJECT,
            stream=JStream(STREAM, declare=False),
            durable=consumer,
            pull_sub=PullSub(batch_size=batch if concurrency == 1 else concurrency),
            max_workers=concurrency if concurrency > 1 else None,
        )
        async def handle(message: bytes) -> None:
            if seconds:
                await asyncio.sleep(seconds)

        await broker.start()
        await asyncio.Event().wait()

    return run


PEERS = {"fetch": fetch, "faststream": faststream(1), "faststream-10": faststream(10)}


def main() -> None:
    name, url, consumer, concurrency, seconds = sys.argv[1:]
    asyncio.run(PEERS[name](url, consumer, int(concurrency), float(seconds)))


if __name__ == "__main__":
    main()
