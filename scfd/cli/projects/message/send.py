"""Publishes an order: `python send.py 3 9.5` is one of 3 pieces at 9.5."""

import asyncio
import json
import sys

import nats


async def send(pieces: int, price: float) -> None:
    client = await nats.connect("nats://127.0.0.1:14222")
    order = {"task_id": "orders", "pieces": pieces, "price": price}
    stored = await client.jetstream().publish("orders.new", json.dumps(order).encode())
    print(f"message {stored.seq} of stream {stored.stream}: {order}")
    await client.close()


if __name__ == "__main__":
    asyncio.run(send(int(sys.argv[1]), float(sys.argv[2])))
