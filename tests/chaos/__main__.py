"""
``python -m tests.chaos [--minutes M] [--seed N] [--max-deliver N]``: a node in trouble, for a while.

Messages are published and a timer fires all the time, while a part that is drawn at random is killed,
stopped, frozen, or its disk filled; then it is brought back. At the end everything is there again, and what
is missing is counted. The seed that is printed draws the same faults again. Status 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from scfd.deferreds import from_asyncio
from tests.chaos.tally import Tally
from tests.chaos.world import World
from tests.integration.daemon import reactor
from tests.integration.nats_traffic import Publisher, connect, make_stream
from tests.integration.scripted import Say

#: Messages a second.
RATE = 20.0
#: Seconds in which nothing works though everything is there, past which that is a fault.
STUCK = 30.0
#: Seconds that it may take to start the plugin, whose last pause between two starts is as long as `STUCK`.
START = 5.0
#: Seconds at the end until everything has to have arrived.
SETTLE = 90.0


class Chaos:
    """One run. :param minutes: of trouble; settling comes after it."""

    def __init__(self, world: World, minutes: float, seed: int) -> None:
        self._world = world
        self._until = time.monotonic() + minutes * 60
        self._random = random.Random(seed)
        self._tally = Tally(world)
        self.done: dict[str, int] = {}

    async def run(self) -> Tally:
        world = self._world
        await world.start()
        client = await from_asyncio(connect(world.nats.url))
        self._jetstream = client.jetstream(timeout=2)
        await from_asyncio(make_stream(self._jetstream, "S", "s.>"))
        await from_asyncio(self._jetstream.add_stream(StreamConfig(name="DEAD", subjects=["dead.letters"])))
        world.start_node()
        await world.node.says("consuming")
        count = int((self._until - time.monotonic()) * RATE)
        publishing = from_asyncio(Publisher(self._jetstream, "s.x", count, RATE).run())
        await self._trouble()
        await publishing
        await self._settle()
        self._tally.published = count
        self._tally.dead = await self._dead_letters(self._jetstream)
        with suppress(Exception):
            await from_asyncio(asyncio.wait_for(client.close(), 5))
        return self._tally

    async def _trouble(self) -> None:
        faults: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("node killed", lambda: self._world.replace_node(signal.SIGKILL)),
            ("node stopped", lambda: self._world.replace_node(signal.SIGTERM)),
            ("node frozen", self._freeze_node),
            ("plugin killed", self._kill_plugin),
            ("plugin frozen", self._freeze_plugin),
            ("guard killed", self._kill_guard),
            ("nats killed", self._kill_nats),
            ("nats frozen", self._freeze_nats),
            ("control plane away", self._no_server),
            ("control plane failing", lambda: self._server_says(Say(b"failing", 500))),
            ("control plane slow", lambda: self._server_says(Say(b"late", 503, delay=4))),
        ]
        if self._world.has_disk:
            faults.append(("disk full", self._fill_disk))
        while time.monotonic() < self._until:
            name, fault = self._random.choice(faults)
            self.done[name] = self.done.get(name, 0) + 1
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
            await fault()
            await self._quiet(self._random.uniform(0.5, 12))

    async def _quiet(self, seconds: float) -> None:
        """
        Everything is there, or comes back by itself: something has to work within `STUCK`.

        A plugin that was killed often in a row is not there for as long, and has `STUCK` from then on.
        """
        self._tally.all_there()
        end = time.monotonic() + seconds
        away = False
        while time.monotonic() < end:
            await deferLater(reactor, 0.5)
            came_back, away = away, not self._world.processes()
            if came_back and not away:
                self._tally.all_there()
            idle = self._tally.idle()
            if idle > STUCK + START * away:
                self._tally.note_stretch(idle)
                return
            if idle > seconds:
                end = time.monotonic() + 1  # wait on: either something works, or this is a stretch

    def _lasting(self) -> Deferred[None]:
        return deferLater(reactor, self._random.uniform(0.2, 8))

    async def _signals(self, pids: list[int]) -> None:
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                await self._lasting()

    async def _freeze_node(self) -> None:
        await self._signals([self._world.node.pid])

    async def _freeze_plugin(self) -> None:
        await self._signals(self._world.processes())

    async def _kill_plugin(self) -> None:
        for pid in self._world.processes():
            os.kill(pid, signal.SIGKILL)

    async def _kill_guard(self) -> None:
        for pid in self._world.guards():
            os.kill(pid, signal.SIGKILL)

    async def _kill_nats(self) -> None:
        await self._world.nats.kill()
        await self._lasting()
        await self._world.nats.start()

    async def _freeze_nats(self) -> None:
        self._world.nats.send(signal.SIGSTOP)
        await self._lasting()
        self._world.nats.send(signal.SIGCONT)

    async def _no_server(self) -> None:
        await self._world.server.close()
        await self._lasting()
        self._world.server.listen()

    async def _server_says(self, say: Say) -> None:
        self._world.server_says = say
        await self._lasting()
        self._world.server_says = None

    async def _fill_disk(self) -> None:
        self._world.fill_disk()
        await self._lasting()
        self._world.empty_disk()

    async def _settle(self) -> None:
        """Wait until nothing is missing any more, or time is up."""
        self._tally.all_there()
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            await deferLater(reactor, 1)
            with suppress(Exception):
                info = await from_asyncio(self._jetstream.consumer_info("S", "c", timeout=2))
                if info.num_pending == info.num_ack_pending == 0 and self._tally.reports_are_in():
                    break
        await deferLater(reactor, 3)  # a result in delivery, a process that has been told to end

    @staticmethod
    async def _dead_letters(jetstream: JetStreamContext) -> set[int]:
        """The numbers of the messages in the dead letter stream."""
        found = set()
        info = await from_asyncio(jetstream.stream_info("DEAD"))
        for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
            message = await from_asyncio(jetstream.get_msg("DEAD", sequence))
            if message.data:
                found.add(int(message.data))
        return found


async def main(options: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="scfd-chaos-"))
    world = World(folder, options.max_deliver)
    print(f"seed {options.seed}, max_deliver {options.max_deliver}, {options.minutes:g} minutes, in {folder}")
    if not world.has_disk:
        print("no disk that fills up: it needs a mount, which this user may not make")
    chaos = Chaos(world, options.minutes, options.seed)
    try:
        tally = await chaos.run()
    finally:
        await world.clean_up()
    await deferLater(reactor, 2)
    print(f"faults: {chaos.done}")
    return tally.report()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--max-deliver", type=int, default=3)
    return parser.parse_args(argv)


def ended(result: Any) -> None:
    global status
    if isinstance(result, int):
        status = result
    else:
        result.printTraceback(sys.stderr)
    reactor.stop()


status = 1
if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main(arguments)).addBoth(ended))
    reactor.run()
    sys.exit(status)
