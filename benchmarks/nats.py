"""
NATS triggers: messages a second and CPU for each, beside a bare nats-py loop and FastStream; memory.

``python -m benchmarks.nats [SECONDS]`` measures each for SECONDS (3), in three rounds: four minutes.
Every consumer runs in a process of its own, real nodes too, one after the other against one nats-server.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import psutil
from attrs import astuple, frozen
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, DeliverPolicy, StorageType

from benchmarks.nats_peers import STREAM, SUBJECT
from benchmarks.node import free_port, running
from scfd.adapter.guard import guarded
from scfd.dev.nats_server import find_nats_server

MESSAGES = 500_000
BODY = b"x" * 200
ROUNDS = 3
#: Seconds from the first message until the measurement begins.
WARM_UP = 1.0

NO_OP, SHORT = 0.0, 0.005
#: What handlers take, in seconds, how many run at once, and who is measured.
WORK = (
    (NO_OP, 1, ("scfd", "fetch", "faststream", "faststream-10")),
    (NO_OP, 64, ("scfd", "fetch", "faststream")),
    (SHORT, 1, ("scfd", "fetch", "faststream")),
    (SHORT, 64, ("scfd", "fetch", "faststream")),
)


@frozen
class Run:
    """One consumer at work. :ivar name: ``scfd``, or one of the peers."""

    name: str
    seconds: float
    concurrency: int
    round: int

    @property
    def consumer(self) -> str:
        """The name of its durable consumer: each run has one, so that each begins with a full stream."""
        return f"{self.name}-{self.seconds * 1000:g}ms-{self.concurrency}-{self.round}"


@frozen
class Figures:
    """
    :ivar rate: messages a second.
    :ivar cpu: user and system time for each message, us.
    """

    rate: float
    cpu: float


@frozen
class Sample:
    """:ivar acked: messages acknowledged so far. :ivar cpu: seconds so far."""

    at: float
    acked: int
    cpu: float


#: Medians, by the handler's seconds, how many run at once, and whose they are.
Results = dict[tuple[float, int, str], Figures]


@contextmanager
def server() -> Iterator[str]:
    """A nats-server. :returns: its URL."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = guarded([find_nats_server(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder])
        # The guard ends the server when this program is gone and the pipe with it.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            wait_until_open(port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def wait_until_open(port: int) -> None:
    for _ in range(100):
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise SystemExit("nats-server did not start")


def node(url: str, runs: list[Run]) -> AbstractContextManager[Any]:
    """A node with a trigger for each run; their handlers take what the first one's takes."""
    return running(
        {
            "adapter": {"native": "worker", "path": str(Path(__file__).with_name("plugins"))},
            "plugin": {"takes": runs[0].seconds},
            "triggers": [
                {
                    "name": run.consumer,
                    "type": "nats",
                    "settings": {
                        "url": url,
                        "stream": STREAM,
                        "subject": SUBJECT,
                        "consumer_name": run.consumer,
                        "concurrency": run.concurrency,
                    },
                }
                for run in runs
            ],
        }
    )


@contextmanager
def peer(url: str, run: Run) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [run.name, url, run.consumer, str(run.concurrency), str(run.seconds)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.nats_peers", *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def make_consumers(jetstream: JetStreamContext, url: str, runs: list[Run]) -> None:
    """Before there is a message: nodes want those that come later, and may make theirs in their own way."""
    nodes = [run for run in runs if run.name == "scfd"]
    with node(url, nodes):
        while (await jetstream.stream_info(STREAM)).state.consumer_count < len(nodes):
            await asyncio.sleep(0.1)
    for run in runs:
        if run.name != "scfd":
            await jetstream.add_consumer(
                STREAM,
                durable_name=run.consumer,
                filter_subject=SUBJECT,
                ack_policy=AckPolicy.EXPLICIT,
                deliver_policy=DeliverPolicy.ALL,
            )


async def fill(client: Client) -> None:
    """Publish as fast as the stream takes it: it drops what comes faster, so each thousandth waits."""
    jetstream = client.jetstream()
    for number in range(1, MESSAGES + 1):
        if number % 1000:
            await client.publish(SUBJECT, BODY)
        else:
            await jetstream.publish(SUBJECT, BODY)
    stored = (await jetstream.stream_info(STREAM)).state.messages
    if stored != MESSAGES:
        raise SystemExit(f"{stored:,} of {MESSAGES:,} messages are in the stream")


async def acknowledged(jetstream: JetStreamContext, run: Run) -> int:
    """:returns: how many messages the consumer has seen through; none of them comes twice."""
    consumer = await jetstream.consumer_info(STREAM, run.consumer)
    assert consumer.delivered is not None and consumer.num_ack_pending is not None
    return int(consumer.delivered.stream_seq - consumer.num_ack_pending)


async def sample(jetstream: JetStreamContext, run: Run, process: psutil.Process) -> Sample:
    acked = await acknowledged(jetstream, run)
    times = process.cpu_times()
    if acked >= MESSAGES:
        raise SystemExit(f"{run.consumer} was through with all messages before its time")
    return Sample(time.monotonic(), acked, times.user + times.system)


async def measure(jetstream: JetStreamContext, run: Run, pid: int, seconds: float) -> Figures:
    process = psutil.Process(pid)
    while not (await sample(jetstream, run, process)).acked:
        await asyncio.sleep(0.05)
    await asyncio.sleep(WARM_UP)
    before = await sample(jetstream, run, process)
    await asyncio.sleep(seconds)
    after = await sample(jetstream, run, process)
    count = after.acked - before.acked
    return Figures(count / (after.at - before.at), 1e6 * (after.cpu - before.cpu) / count)


async def measure_all(jetstream: JetStreamContext, url: str, runs: list[Run], seconds: float) -> Results:
    results = defaultdict(list)
    for run in runs:
        with node(url, [run]) if run.name == "scfd" else peer(url, run) as process:
            figures = await measure(jetstream, run, process.pid, seconds)
        results[run.seconds, run.concurrency, run.name].append(figures)
    return {key: median(several) for key, several in results.items()}


def report(medians: Results) -> None:
    print(f"{'Messages of 200 bytes, medians':<34} {'per second':>10} {'CPU us each':>12} {'scfd is':>9}")
    for takes, concurrency, names in WORK:
        print(f"handler {takes * 1000:g} ms, {concurrency} at once")
        scfd = medians[takes, concurrency, "scfd"]
        for name in names:
            one = medians[takes, concurrency, name]
            print(f"  {name:<32} {one.rate:>10,.0f} {one.cpu:>12.1f} {scfd.rate / one.rate:>8.2f}x")
    in_order = medians[NO_OP, 1, "scfd"].rate
    goals = (
        ("0 ms, 1 at once, beside fetch", in_order / medians[NO_OP, 1, "fetch"].rate, 5.0),
        ("0 ms, 1 at once, beside faststream", in_order / medians[NO_OP, 1, "faststream"].rate, 12.0),
        ("5 ms, 64 at once, of the ideal rate", medians[SHORT, 64, "scfd"].rate / (64 / SHORT), 0.6),
    )
    for what, is_, wanted in goals:
        verdict = "reached" if is_ >= wanted else "missed"
        print(f"goal {verdict}: {what}: {is_:.2f}, at least {wanted:g}", flush=True)


def median(several: list[Figures]) -> Figures:
    return Figures(*(statistics.median(each) for each in zip(*map(astuple, several), strict=True)))


async def measure_memory(jetstream: JetStreamContext, url: str, run: Run) -> None:
    """Resident memory of one node along all messages."""
    print(f"Memory over {MESSAGES:,} messages, MiB")
    step = MESSAGES // 10
    with node(url, [run]) as process:
        due = step
        while due <= MESSAGES:
            if (acked := await acknowledged(jetstream, run)) >= due:
                resident = psutil.Process(process.pid).memory_info().rss / 2**20
                print(f"  {acked:>9,} {resident:>8.1f}", flush=True)
                due += step
            await asyncio.sleep(0.05)


async def measure_everything(seconds: float) -> None:
    runs = [
        Run(name, takes, concurrency, number)
        for number in range(ROUNDS)
        for takes, concurrency, names in WORK
        for name in names
    ]
    memory = Run("scfd", NO_OP, 64, ROUNDS)
    with server() as url:
        client = await nats.connect(url)
        jetstream = client.jetstream()
        await jetstream.add_stream(name=STREAM, subjects=[SUBJECT], storage=StorageType.MEMORY)
        await make_consumers(jetstream, url, [*runs, memory])
        await fill(client)
        report(await measure_all(jetstream, url, runs, seconds))
        await measure_memory(jetstream, url, memory)
        await client.close()


def main() -> None:
    asyncio.run(measure_everything(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0))


if __name__ == "__main__":
    main()
