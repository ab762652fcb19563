"""Shows factors as they are published: `python show.py 5` ends after five; without a number, after three."""

import asyncio
import sys

import nats


async def show(count: int) -> None:
    client = await nats.connect("nats://127.0.0.1:14222")
    subscription = await client.subscribe("factor.>")
    for _ in range(count):
        message = await subscription.next_msg(timeout=10)
        print(message.subject, message.data.decode())
    await client.close()


if __name__ == "__main__":
    asyncio.run(show(int(sys.argv[1]) if sys.argv[1:] else 3))
