"""
How long a packaged node takes to start, and what it costs when nothing happens.

``python -m benchmarks.start [ROUNDS]`` makes packages (`scfd package`) for the Python at work, unpacks them
into folders that can't be written, and prints for each:

* seconds from the start of the process to the first ``GET /health`` that gives 200, the median of ROUNDS (9),
  beside ``import twisted.web.server, twisted.internet.asyncioreactor`` by the same Python with the same
  packages, in turn;
* the first start after unpacking, beside the median;
* resident memory and CPU while idle, over 20 seconds;
* what was tried to make a start shorter.

The node has a plugin over HTTP, in a process of its own that runs already, and a timer.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.node import free_port, timer

IDLE = 20.0
#: Not that of a virtual environment, which has packages of its own.
INTERPRETER = getattr(sys, "_base_executable", sys.executable)
REFERENCE = "import twisted.web.server, twisted.internet.asyncioreactor"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
HTTP = {"heartbeat": {"server_ip": "127.0.0.1", "server_port": 9}}
#: A plugin that is well.
PLUGIN = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    do_POST = do_GET
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@frozen
class Started:
    """
    :ivar seconds: to the first response with 200.
    :ivar memory: resident, in MiB; of a node that idled, else 0.
    :ivar cpu: share of one core; of a node that idled, else 0.
    """

    seconds: float
    memory: float = 0.0
    cpu: float = 0.0


@frozen
class Package:
    """
    :ivar folder: where it is unpacked.
    :ivar port: of its gateway.
    """

    folder: Path
    port: int

    def environ(self) -> dict[str, str]:
        names = ("PATH", "HOME", "LANG")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "PORT": str(self.port), "STATE_DIRECTORY": f"{self.folder}.state"}

    def start(self, idle: float = 0.0) -> Started:
        """:param idle: seconds to watch it."""
        began = time.monotonic()
        node = subprocess.Popen(
            [self.folder / "scf_bootstrap"],
            env=self.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not healthy(self.port):
                if node.poll() is not None or time.monotonic() - began > 60:
                    raise SystemExit(f"{self.folder}: the node did not get healthy")
                time.sleep(0.002)
            seconds = time.monotonic() - began
            if not idle:
                return Started(seconds)
            time.sleep(2)
            before = cpu_of(node.pid)
            time.sleep(idle)
            return Started(seconds, memory_of(node.pid), (cpu_of(node.pid) - before) / idle)
        finally:
            node.terminate()
            node.wait()

    def reference(self) -> float:
        environ = {**self.environ(), "PYTHONPATH": str(self.folder / "packages")}
        began = time.monotonic()
        subprocess.run([INTERPRETER, "-c", REFERENCE], env=environ, check=True)
        return time.monotonic() - began


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def cpu_of(pid: int) -> float:
    """Seconds of all its threads, not in ticks of 10 ms: an idle node takes two of them."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def memory_of(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def make(folder: Path, plugin: int, sections: Mapping[str, Any]) -> Package:
    """A package with other sections in its config, unpacked into a read-only folder."""
    folder.mkdir()
    config = {
        "system": {"name": "bench", "version": "v1"},
        "gateway": {"listen": "0.0.0.0:9000"},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "adapter": {"http": {"url": f"http://127.0.0.1:{plugin}"}},
        "triggers": [timer("t", "0 0 0 1 1 * *")],
        **sections,
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "scfd", "package", "--config", "config.yaml", "--output", "fn.zip"]
    options = ["--python", PYTHON, "--interpreter", INTERPRETER, "--no-verify"]
    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run(
        [*command, *options], cwd=folder, env={**os.environ, **path}, check=True, stdout=subprocess.DEVNULL
    )
    user = folder / "user"
    with zipfile.ZipFile(folder / "fn.zip") as opened:
        for entry in opened.infolist():
            Path(opened.extract(entry, user)).chmod(entry.external_attr >> 16 & 0o555)
    Path(f"{user}.state").mkdir()
    return Package(user, free_port())


def measure(name: str, package: Package, rounds: int) -> None:
    first = package.start().seconds
    starts, references = [], []
    for _ in range(rounds):
        starts.append(package.start().seconds)
        references.append(package.reference())
    idle = package.start(IDLE)
    start, reference = statistics.median(starts), statistics.median(references)
    spread = f"{min(starts):.2f}-{max(starts):.2f}"
    ratios = f"{start / reference:5.2f}  {first / start:6.2f}"
    print(
        f"{name:34} {start:6.3f} s ({spread})  {reference:6.3f} s  {ratios}"
        f"  {idle.memory:5.1f} MiB  {100 * idle.cpu:5.2f} %",
        flush=True,
    )


def main(rounds: int) -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    plugin = free_port()
    process = subprocess.Popen([sys.executable, "-c", PLUGIN, str(plugin)])
    try:
        with tempfile.TemporaryDirectory() as scratch:
            print(f"{'':34} {'start':20}  {'import':8}  {'ratio':5}  first   memory     idle")
            for number, (name, sections) in enumerate(cases().items()):
                measure(name, make(Path(scratch, str(number)), plugin, sections), rounds)
            print(TRIED)
    finally:
        process.terminate()
        process.wait()


def cases() -> dict[str, dict[str, Any]]:
    """:returns: sections of configs, by what they show. No NATS server answers: the trigger tries again."""
    settings = {
        "url": f"nats://127.0.0.1:{free_port()}",
        "stream": "S",
        "subject": "s.>",
        "consumer_name": "c",
    }
    queue = {"name": "q", "type": "nats", "settings": settings}
    return {
        "HTTP plugin, timer": HTTP,
        "with pyOpenSSL in the package": {},
        "with a NATS trigger": {**HTTP, "triggers": [queue]},
    }


#: What parts of a start took, in ms by the profiler or -X importtime, so about; and what became of them.
TRIED = """
tried                                                     about ms
pyOpenSSL not imported before TLS is used                      130   done: `scfd.reactor.leave_out_tls`
treq and twisted.web.client, with the first request             60   done: `scfd.control_plane.http`
no garbage collection until everything is made                  50   done: `scfd.start.begin`
twisted.web.server, with the first operator                     45   done: `scfd.listen.Listener`
twistd's own runner and command line                            25   done: `scfd.start.run`
http.cookiejar, which twisted.python.compat passes on           17   done: `scfd.start`
methods of attrs classes, compiled when a package is made       20   done: `scfd.prepared`
regular expressions, likewise                                   15   done: `scfd.prepared`
the plugin's process and its output, where there is none         8   done: `scfd.build`
dirname in scf_bootstrap                                         2   done: `scfd.package.contents`
prometheus_client                                                9   stays: every metric is one of its own
PyYAML                                                           6   stays: the config is YAML
modules in one file instead of 300                              10   not done: an importer of its own
zip import, -I -S, -OO, malloc settings, uvloop                  0   not done
"""


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
