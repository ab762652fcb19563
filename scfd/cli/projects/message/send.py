"""Publishes an order: `python send.py 3 9.5` is one of 3 pieces at 9.5."""

import asyncio
import json
import sys

import nats
import nats.errors


async def keep_quiet(error: Exception) -> None:
    """What can't be helped is raised; what the client logs besides is a traceback."""


async def send(pieces: int, price: float) -> None:
    # A single attempt: by default the client tries for two minutes.
    url = "nats://127.0.0.1:14222"
    client = await nats.connect(url, error_cb=keep_quiet, max_reconnect_attempts=1)
    order = {"task_id": "orders", "pieces": pieces, "price": price}
    stored = await client.jetstream().publish("orders.new", json.dumps(order).encode())
    print(f"message {stored.seq} of stream {stored.stream}: {order}")
    await client.close()


if __name__ == "__main__":
    try:
        asyncio.run(send(int(sys.argv[1]), float(sys.argv[2])))
    except (IndexError, ValueError):
        sys.exit("usage: python send.py PIECES PRICE, such as: python send.py 3 9.5")
    except nats.errors.Error as error:
        sys.exit(f"{error}; does `scfd run` run?")
