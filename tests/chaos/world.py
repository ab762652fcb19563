"""The parts of a chaos run: each can be started, killed, frozen and brought back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from tests.integration.daemon import Daemon, free_ports, is_alive, reactor
from tests.integration.nats_servers import Server
from tests.integration.scripted import Heard, Say, ScriptedServer, task, tasks_response

PLUGIN = Path(__file__).with_name("plugin.py")
TASKS = ("a", "b", "c")
#: Bytes of the disk that fills up.
DISK = 8 * 1024 * 1024
#: Seconds after its node within which a plugin's process has to be gone.
ORPHAN_AFTER = 5.0


class World:
    """
    Everything that runs, and what each part says it has done.

    :param folder: for configs, logs and tallies.
    :param max_deliver: of the consumer; -1 is without limit.
    :ivar node_kills: moments (wall clock) at which the node was killed with -9.
    :ivar full: ``[from, until]`` of the times in which the disk was full.
    :ivar taken: the results that the control plane has taken, ``(task id, result)`` in their order.
    """

    def __init__(self, folder: Path, max_deliver: int) -> None:
        self.folder = folder
        self.max_deliver = max_deliver
        self.tally = folder / "tally"
        self.state = folder / "state"
        self.mark = f"chaos-{os.getpid()}"
        self._plugin_port, self.admin = free_ports(2)
        self.nats = Server(folder / "store")
        self.server = ScriptedServer()
        self.server.on_heartbeat = lambda heard: tasks_response([task(name) for name in TASKS])
        self.server.on_report = self._take
        self.server_says: Say | None = None
        self.node_kills: list[float] = []
        self.full: list[list[float]] = []
        self.taken: list[tuple[str, str]] = []
        self.orphans: list[str] = []
        self.has_disk = self._mount()
        self._nodes = 0

    def _mount(self) -> bool:
        self.state.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", str(self.state)]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def _take(self, heard: Heard) -> Say:
        if self.server_says is not None:
            return self.server_says
        report = heard.json
        self.taken.append((report["id"], report["result"]))
        return Say()

    async def start(self) -> None:
        """All parts, the node last."""
        await self.nats.start()
        self.server.listen()

    def start_node(self) -> None:
        """Its output goes on in a file of its own for each run."""
        self._nodes += 1
        self.node = Daemon(json.dumps(self._config()), self.folder, {"SCF_FUNCTIONNAME": "node"})
        self.node.start("-n", "scfd", "--config", "config.yaml")

    def _config(self) -> dict[str, Any]:
        nats = {
            "url": self.nats.url,
            "stream": "S",
            "subject": "s.>",
            "consumer_name": "c",
            "ack_wait": 3,
            "max_deliver": self.max_deliver,
            "concurrency": 8,
            **({"dead_letter": "dead.letters"} if self.max_deliver > 0 else {}),
        }
        command = [sys.executable, str(PLUGIN), str(self._plugin_port), str(self.tally), self.mark]
        return {
            "system": {"name": "node", "state_dir": str(self.state)},
            "heartbeat": {"server_ip": "127.0.0.1", "server_port": self.server.port, "interval": 2},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"http": {"url": f"http://127.0.0.1:{self._plugin_port}", "command": command}},
            "triggers": [
                {"name": "timer", "type": "timer", "settings": {"cron": "* * * * * * *"}},
                {"name": "queue", "type": "nats", "settings": nats},
            ],
            "shutdown": {"drain": 5},
        }

    def keep_output(self) -> None:
        """Write what the node has said to its file; its end begins a new one."""
        (self.folder / f"node-{self._nodes}.log").write_text(self.node.output)

    def processes(self) -> list[int]:
        """The plugin's processes, without their guards."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                if self.mark.encode() in argv and b"--" not in argv and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def guards(self) -> list[int]:
        """The processes that stand between the node and its plugin."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                if self.mark.encode() in argv and b"--" in argv and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    async def replace_node(self, number: int) -> None:
        """End the node with a signal and start it again. A plugin that outlives it is an orphan."""
        before = self.processes()
        if number == signal.SIGKILL:
            self.node_kills.append(time.time())
        await self.node.stop(number)
        if number == signal.SIGTERM and self.node.status != 0:
            self.orphans.append(f"the node ended with status {self.node.status} at SIGTERM")
        self.keep_output()
        for _ in range(int(ORPHAN_AFTER / 0.1)):
            if not any(is_alive(pid) for pid in before):
                break
            await deferLater(reactor, 0.1)
        self.orphans += [f"process {pid}" for pid in before if is_alive(pid)]
        self.start_node()

    def fill_disk(self) -> None:
        """To the last byte."""
        self.full.append([time.time(), float("inf")])
        with suppress(OSError), (self.state / "filling").open("wb", buffering=0) as filling:
            while True:
                filling.write(b"x" * 4096)

    def empty_disk(self) -> None:
        (self.state / "filling").unlink(missing_ok=True)
        self.full[-1][1] = time.time()

    async def clean_up(self) -> None:
        """Leave nothing running and nothing mounted."""
        self.keep_output()
        cleaning = self.node.clean_up()
        if cleaning is not None:
            await cleaning
        with suppress(Exception):
            self.nats.send(signal.SIGCONT)
        ended = self.nats.clean_up()
        if ended is not None:
            await ended
        await self.server.close()
        if self.has_disk:
            subprocess.run(["umount", str(self.state)], check=False)
