"""
The gateway beside other proxies: forwarded requests per second and their times, and its memory.

``python -m benchmarks.gateway [SECONDS]`` loads each proxy with wrk for SECONDS (4) a row, all before the
same backend (nginx), then scfd's alone until it has forwarded a million requests.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from attrs import frozen

from benchmarks.node import free_port, running
from benchmarks.proxies import BACKEND, KEPT, NGINX, PLAIN, PROXY

MANY = 1_000_000
LARGE = 64 * 1024
#: Seconds before each row: connections are made, and processors leave their sleep.
WARM_UP = 1
#: What scfd is to reach, as a share of nginx's requests, and of its 99th percentile at most.
SHARE, TIMES = 0.6, 3.0

#: One core is the proxy's alone, so that it is the proxy that is measured. wrk and the backend have another.
PROXY_CORE, OTHER_CORE = {0}, {1}

POST = f'wrk.method = "POST"; wrk.body = string.rep("x", {LARGE})'


@frozen
class Row:
    name: str
    path: str
    connections: int
    post: bool = False
    is_goal: bool = False


ROWS = [
    Row("100 B", "/small", 1),
    Row("100 B", "/small", 32, is_goal=True),
    Row("100 B", "/small", 256),
    Row("64 KiB", "/large", 1),
    Row("64 KiB", "/large", 32, is_goal=True),
    Row("64 KiB", "/large", 256),
    Row("64 KiB sent", "/reads", 32, post=True),
]


@frozen
class Proxy:
    name: str
    port: int
    pid: int


@frozen
class Load:
    """
    What wrk saw.

    :ivar rate: responses per second.
    :ivar median: milliseconds.
    :ivar p99: milliseconds.
    :ivar failed: requests without a response of status 2xx.
    :ivar cpu: what the proxy used, percent of a core.
    """

    rate: float
    median: float
    p99: float
    failed: int
    cpu: float

    @property
    def cpu_each(self) -> float:
        """Microseconds of the proxy's CPU a request: hardly changes when something else is busy, too."""
        return self.cpu / self.rate * 10_000


_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def run_wrk(row: Row, port: int, seconds: int, script: str) -> str:
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    if row.post:
        command += ["-s", script]
    return subprocess.run(
        [*command, f"http://127.0.0.1:{port}{row.path}"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def load(proxy: Proxy, row: Row, seconds: int, script: str) -> Load:
    process = psutil.Process(proxy.pid)
    before, began = process.cpu_times(), time.monotonic()
    report = run_wrk(row, proxy.port, seconds, script)
    after, took = process.cpu_times(), time.monotonic() - began
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", report)))
    return Load(
        float(report.partition("Requests/sec:")[2].split()[0]),
        _latency(report, 50),
        _latency(report, 99),
        failed,
        100 * (after.user + after.system - before.user - before.system) / took,
    )


def _latency(report: str, percent: int) -> float:
    """:returns: milliseconds."""
    found = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s|m)$", report, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk says nothing of its {percent}th percentile:\n{report}")
    return float(found[1]) * _MILLISECONDS[found[2]]


def use(cores: set[int]) -> None:
    """Whatever is started from here on runs on these; not where there are fewer of them."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, cores)


@contextmanager
def process(command: list[str], port: int, **arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has begun to listen."""
    with subprocess.Popen(command, **arguments) as started:  # type: ignore[call-overload]  # of cwd only
        try:
            _wait_for(port)
            yield started
        finally:
            started.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise SystemExit(f"nobody listens on port {port}") from None
            time.sleep(0.05)


@contextmanager
def nginx(content: str, port: int) -> Iterator[int]:
    """:returns: the id of its worker, which does the work."""
    with tempfile.TemporaryDirectory() as folder:
        # Its worker is another user's, where root starts it.
        os.chmod(folder, 0o755)
        Path(folder, "large").write_bytes(b"x" * LARGE)
        Path(folder, "nginx.conf").write_text(NGINX.format(content=content))
        with process(["nginx", "-e", "stderr", "-p", folder, "-c", "nginx.conf"], port) as master:
            yield _worker(master.pid)


def _worker(master: int) -> int:
    while not (workers := psutil.Process(master).children()):
        time.sleep(0.01)  # it listens before it makes them
    return int(workers[0].pid)


@contextmanager
def proxies() -> Iterator[list[Proxy]]:
    """All of them, in front of one backend. Those that have nothing to do cost nothing."""
    with ExitStack() as stack:
        use(OTHER_CORE)
        backend = free_port()
        stack.enter_context(nginx(BACKEND.format(port=backend, small="x" * 100), backend))
        use(PROXY_CORE)
        started = []
        for name, settings in (("nginx", KEPT), ("nginx, plain", PLAIN)):
            port = free_port()
            content = PROXY.format(port=port, backend=backend, **settings)
            started.append(Proxy(name, port, stack.enter_context(nginx(content, port))))
        port = free_port()
        config = {
            "gateway": {"listen": f"127.0.0.1:{port}"},
            "adapter": {"http": {"url": f"http://127.0.0.1:{backend}"}},
            "triggers": [],
        }
        started.append(Proxy("scfd", port, stack.enter_context(running(config)).pid))
        for name in ("aiohttp", "twisted"):
            port = free_port()
            command = [sys.executable, "-m", "benchmarks.proxies", name, str(port), str(backend)]
            started.append(Proxy(name, port, stack.enter_context(process(command, port)).pid))
        use(OTHER_CORE)
        yield started


def compare(started: list[Proxy], seconds: int, script: str) -> None:
    print(
        f"{'body':<12} {'conn.':>5} {'proxy':<12} {'req/s':>8} {'of nginx':>8} {'p50 ms':>8} {'p99 ms':>8}",
        end="",
    )
    print(f" {'CPU %':>6} {'us each':>7} {'failed':>6}")
    goals = []
    for row in ROWS:
        loads: dict[str, Load] = {}
        for proxy in started:
            run_wrk(row, proxy.port, WARM_UP, script)
            one = loads[proxy.name] = load(proxy, row, seconds, script)
            share = one.rate / loads["nginx"].rate
            print(
                f"{row.name:<12} {row.connections:>5} {proxy.name:<12} {one.rate:>8,.0f} {share:>8.2f}",
                end="",
            )
            print(f" {one.median:>8.2f} {one.p99:>8.2f} {one.cpu:>6.0f}", end="")
            print(f" {one.cpu_each:>7.1f} {one.failed:>6}", flush=True)
        if row.is_goal:
            goals += [goal(row, name, loads[name], loads["scfd"]) for name in loads if "nginx" in name]
    print("\n".join(goals))


def goal(row: Row, name: str, nginx: Load, scfd: Load) -> str:
    share, times = scfd.rate / nginx.rate, scfd.p99 / nginx.p99
    return (
        f"{row.name}, {row.connections} connections, beside {name}: {share:.2f} of its requests (goal: at "
        f"least {SHARE}), p99 {times:.1f} times its (goal: at most {TIMES:g})"
    )


def watch_memory(scfd: Proxy, seconds: int, script: str) -> None:
    """Resident memory while a million requests are forwarded, all of the same kind."""
    row, forwarded, shown = ROWS[1], 0, 0
    print(f"scfd's memory, MiB: {_resident(scfd):.1f} at first", end="", flush=True)
    while forwarded < MANY:
        report = run_wrk(row, scfd.port, seconds, script)
        found = re.search(r"(\d+) requests in", report)
        assert found is not None, report
        forwarded += int(found[1])
        if forwarded * 5 // MANY > shown:
            shown = forwarded * 5 // MANY
            print(f", {_resident(scfd):.1f} after {forwarded:,} requests", end="", flush=True)
    print()


def _resident(proxy: Proxy) -> float:
    return float(psutil.Process(proxy.pid).memory_info().rss) / (1 << 20)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    for program in ("nginx", "wrk"):
        if shutil.which(program) is None:
            print(f"the gateway: not measured, for {program} is not installed")
            return
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script, proxies() as started:
        script.write(POST)
        script.flush()
        compare(started, seconds, script.name)
        watch_memory(next(proxy for proxy in started if proxy.name == "scfd"), seconds, script.name)


if __name__ == "__main__":
    main()
