"""
Timers: how late they are, what many of them cost, how fast a node with many of them starts.

``python -m benchmarks.timers [SECONDS]`` measures each lateness over SECONDS (60; 300 s in all). Nodes are
real ones, in processes of their own. Their events go over HTTP to a plugin that notes when each came.
The gateway is loaded with wrk, where that is installed.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from benchmarks.node import free_port, running, timer
from benchmarks.receiver import Arrival, Receiver

MANY = 10_000
BURST = 1_000
#: Seconds over which the CPU time of an idle node is taken.
IDLE_SECONDS = 20
#: Seconds in which two bursts come, or three.
BURSTS_SECONDS = 22
#: Each start-up is the median of so many.
STARTS = 3

EACH_SECOND = timer("each-second", "* * * * * * *")


def idle_timers(count: int) -> list[dict[str, Any]]:
    """Daily timers, each with a second of its own, the first of them twelve hours from now."""
    noon = datetime.now(timezone.utc).hour + 12
    return [
        timer(f"daily-{number}", f"{number % 60} {number // 60 % 60} {(noon + number // 3600) % 24} * * *")
        for number in range(count)
    ]


def at_once(distinct: bool) -> list[dict[str, Any]]:
    """Timers that all fire every ten seconds; their expressions differ only in years that are past."""
    return [
        timer(
            f"burst-{number}",
            f"*/10 * * * * * {1970 + number % 25}-1999/{number // 25 + 1},2000-2099"
            if distinct
            else "*/10 * * * * *",
            overlap="allow",
        )
        for number in range(BURST)
    ]


def http(receiver: Receiver, triggers: Sequence[Any], **further: Any) -> dict[str, Any]:
    """The config of a node whose plugin is the receiver."""
    return {"adapter": {"http": {"url": receiver.url}}, "triggers": triggers, **further}


def watch(receiver: Receiver, seconds: float) -> list[Arrival]:
    """What the receiver gets in that time; the first two seconds are left out, for everything to warm up."""
    time.sleep(2)
    receiver.take()
    time.sleep(seconds)
    return receiver.take()


def print_lateness(what: str, arrivals: list[Arrival]) -> None:
    late = sorted(arrival.lateness * 1000 for arrival in arrivals)
    if not late:
        raise SystemExit(f"{what}: nothing came")
    worst = late[min(len(late) - 1, int(len(late) * 0.99))]
    figures = (statistics.median(late), worst, late[-1], late[0])
    print(f"{what:<42}", *(f"{figure:>8.2f}" for figure in figures), f"{len(late):>6}", flush=True)


def measure_lateness(receiver: Receiver, seconds: float) -> None:
    print(f"{'Lateness, ms':<42} {'median':>8} {'p99':>8} {'max':>8} {'earliest':>8} {'events':>6}")
    with running(http(receiver, [EACH_SECOND])):
        print_lateness("scfd, 1 entry", watch(receiver, seconds))
    with running(http(receiver, [EACH_SECOND, *idle_timers(MANY)])):
        print_lateness(f"scfd, {MANY:,} entries that do not fire", watch(receiver, seconds))
    measure_lateness_under_load(receiver, seconds)
    for name in ("apscheduler", "looping-call"):
        with peer(name, receiver):
            print_lateness(name, watch(receiver, seconds))


def measure_lateness_under_load(receiver: Receiver, seconds: float) -> None:
    """With 64 connections on which requests are forwarded to the plugin, as fast as responses come."""
    if shutil.which("wrk") is None:
        print("scfd, gateway under load: not measured, for wrk is not installed")
        return
    listen = f"127.0.0.1:{free_port()}"
    command = ["wrk", "-c64", "-t1", f"-d{int(seconds) + 3}s", f"http://{listen}/"]
    with (
        running(http(receiver, [EACH_SECOND], gateway={"listen": listen})),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk,
    ):
        arrivals = watch(receiver, seconds)
        report, _ = wrk.communicate()
    rate = report.partition("Requests/sec:")[2].split()[0]
    print_lateness(f"scfd, gateway under load ({float(rate):,.0f}/s)", arrivals)


@contextmanager
def peer(name: str, receiver: Receiver) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.peers", name, str(receiver.port)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure_cpu(receiver: Receiver) -> None:
    used = {count: idle_cpu(receiver, count) for count in (1, MANY)}
    print(f"CPU of an idle node, % of a core: {used[1]:.2f} with 1 entry, {used[MANY]:.2f} with {MANY:,}")


def idle_cpu(receiver: Receiver, count: int) -> float:
    """:returns: percent of a core."""
    with running(http(receiver, idle_timers(count))) as node:
        process = psutil.Process(node.pid)
        time.sleep(2)
        before = process.cpu_times()
        time.sleep(IDLE_SECONDS)
        after = process.cpu_times()
    return 100 * (after.user + after.system - before.user - before.system) / IDLE_SECONDS


def measure_bursts(receiver: Receiver) -> None:
    print(f"{BURST:,} entries due in the same second, ms        the first time             later")
    print(f"{'':<42} {'first to last':>13} {'all':>6} {'first to last':>13} {'all':>6}")
    for name, distinct in (("one expression", False), ("distinct expressions", True)):
        print_bursts(f"{name}, to a native plugin", native_bursts(at_once(distinct)))
        print_bursts(f"{name}, over HTTP", http_bursts(receiver, at_once(distinct)))


def print_bursts(what: str, arrivals: list[Arrival]) -> None:
    """Of the first burst and of the last one: from its first event to the last, from its second to that."""
    moments = Counter(arrival.scheduled for arrival in arrivals)
    whole = sorted(moment for moment, count in moments.items() if count == BURST)
    if len(whole) < 2:
        raise SystemExit(f"fewer than two bursts came whole: {dict(moments)}")
    figures = []
    for moment in (whole[0], whole[-1]):
        late = [arrival.lateness * 1000 for arrival in arrivals if arrival.scheduled == moment]
        figures += [f"{max(late) - min(late):>13.1f}", f"{max(late):>6.1f}"]
    print(f"  {what:<40}", *figures, flush=True)


def http_bursts(receiver: Receiver, triggers: Sequence[Any]) -> list[Arrival]:
    receiver.take()
    with running(http(receiver, triggers)):
        time.sleep(BURSTS_SECONDS)
        return receiver.take()


def native_bursts(triggers: Sequence[Any]) -> list[Arrival]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "arrivals")
        adapter = {"native": "arrivals", "path": str(Path(__file__).with_name("plugins"))}
        with running({"adapter": adapter, "plugin": {"arrivals": str(file)}, "triggers": triggers}):
            time.sleep(BURSTS_SECONDS)
        return [Arrival(*json.loads(line)) for line in file.read_text().splitlines()]


def measure_start_up(receiver: Receiver) -> None:
    print("Start of the process to ready, s")
    for count in (1, 1_000, MANY):
        took = []
        for _ in range(STARTS):
            with running(http(receiver, idle_timers(count))) as node:
                took.append(node.start_up)
        print(f"  {count:>6,} entries {statistics.median(took):>8.2f}", flush=True)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    receiver = Receiver()
    try:
        measure_lateness(receiver, seconds)
        measure_cpu(receiver)
        measure_bursts(receiver)
        measure_start_up(receiver)
    finally:
        receiver.stop()


if __name__ == "__main__":
    main()
