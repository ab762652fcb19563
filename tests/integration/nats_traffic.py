"""What a NATS test sends, and what it asks the servers: nats-py, run in asyncio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import nats
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.errors import APIError

#: Messages that are on their way to the stream at the same time.
SENDERS = 32


async def _quiet(error: Exception) -> None:
    """What goes wrong is raised as well, or is what the test is about."""


async def connect(url: str) -> Client:
    """:returns: a client that comes back whatever happens to the servers, and soon."""
    return await nats.connect(
        url.split(","),
        error_cb=_quiet,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,  # seconds
        ping_interval=1,  # seconds: a frozen server is noticed
        max_outstanding_pings=2,
    )


async def make_stream(jetstream: JetStreamContext, name: str, subject: str, replicas: int = 1) -> None:
    """Make it; a cluster that has just been started is asked until it has elected its leader."""
    while True:
        try:
            await jetstream.add_stream(name=name, subjects=[subject], num_replicas=replicas)
            return
        except (APIError, Error, asyncio.TimeoutError):
            await asyncio.sleep(0.1)


async def leader_of(jetstream: JetStreamContext, stream: str, consumer: str) -> str:
    """:returns: the name of the server that leads a consumer, as soon as one does."""
    while True:
        with suppress(APIError, Error, asyncio.TimeoutError):
            cluster = (await jetstream.consumer_info(stream, consumer)).cluster
            if cluster and cluster.leader:
                return str(cluster.leader)
        await asyncio.sleep(0.1)


async def one_leader(jetstream: JetStreamContext, stream: str, consumer: str) -> str:
    """
    Have one server lead a consumer and its stream. After its death there is one election then, of 4 to 9 s,
    and not two.

    :returns: its name.
    """
    while True:
        leader = await leader_of(jetstream, stream, consumer)
        with suppress(APIError, Error, asyncio.TimeoutError):
            cluster = (await jetstream.stream_info(stream)).cluster
            if cluster and cluster.leader == leader:
                return leader
            wish = json.dumps({"placement": {"preferred": leader}}).encode()
            await jetstream._nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", wish, timeout=1)
        await asyncio.sleep(0.1)


async def all_current(jetstream: JetStreamContext, stream: str) -> None:
    """Wait until every server has all of a stream."""
    while True:
        with suppress(APIError, Error, asyncio.TimeoutError):
            cluster = (await jetstream.stream_info(stream)).cluster
            if cluster and cluster.replicas and all(one.current for one in cluster.replicas):
                return
        await asyncio.sleep(0.1)


class Publisher:
    """
    Publishes the numbers from 1 on, each until a stream has it: none is lost, none is in it twice.

    :param rate: messages a second.
    :ivar published: how many a stream has confirmed.
    """

    def __init__(self, jetstream: JetStreamContext, subject: str, count: int, rate: float) -> None:
        self._jetstream = jetstream
        self._subject = subject
        self._numbers: Iterator[int] = iter(range(1, count + 1))
        self._rate = rate
        self.published = 0

    async def run(self) -> None:
        """Done when all are in the stream."""
        self._began = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._send() for _ in range(SENDERS)))

    async def _send(self) -> None:
        for number in self._numbers:
            due = self._began + number / self._rate
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._publish(number)
            self.published += 1

    async def _publish(self, number: int) -> None:
        # The id lets the stream drop what it has already, when only its confirmation was lost.
        body, headers = str(number).encode(), {"Nats-Msg-Id": str(number)}
        while True:
            try:
                await self._jetstream.publish(self._subject, body, timeout=1, headers=headers)
                return
            except (Error, asyncio.TimeoutError):
                await asyncio.sleep(0.05)
