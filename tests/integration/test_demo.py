"""The demo as a newcomer runs it: the shipped config on real parts, a real nats-server among them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, children, free_ports, get_json, is_alive, until
from tests.integration.projects import run_program, says_what_is_shown

#: The ports of the shipped config.
PORTS = ("9000", "9002", "18202", "14222")

#: In the README, with what it says of the outcome.
COMMAND = re.compile(r"(?m)^    ((?:\.venv/bin/scfd|curl) .*?)(?: +# (.*))?$")


def demo_config(ports: list[int], state_dir: Path) -> str:
    """The shipped demo on other ports, so that it can run beside a node."""
    text = (ROOT / "etc" / "config.yaml").read_text()
    for shipped, other in zip(PORTS, ports, strict=True):
        assert shipped in text, f"the shipped config has no port {shipped}"
        text = text.replace(shipped, str(other))
    assert '"*/3 * * * * * *"' in text and "interval: 5" in text, "the shipped config has other periods"
    return (
        text.replace('"*/3 * * * * * *"', '"* * * * * * *"')  # the tests are in a hurry
        .replace("interval: 5", "interval: 1")
        .replace("/tmp/scfd-demo", str(state_dir))
        .replace("examples/host-metrics", str(ROOT / "examples" / "host-metrics"))
        .replace("etc/tasks.yaml", "tasks.yaml")
    )


class DemoTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "tasks.yaml").write_text((ROOT / "etc" / "tasks.yaml").read_text())
        self.gateway, self.admin, self.control_plane, self.nats = self.ports = free_ports(4)

    def start(self) -> Daemon:
        daemon = Daemon(demo_config(self.ports, self.folder / "state"), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    async def state(self) -> Any:
        return await get_json(f"http://127.0.0.1:{self.control_plane}/state")

    async def results_from_two_tasks(self) -> bool:
        good = [result["task_id"] for result in (await self.state())["results"] if result["status"] == 2]
        return len(good) >= 4 and len(set(good)) >= 2

    async def a_mean(self) -> bool:
        return any(" mean " in result["result"] for result in (await self.state())["results"])

    def test_tasks_are_executed_and_reported(self) -> Deferred[None]:
        """Timer and NATS triggers run the tasks, and SIGTERM leaves nothing behind."""

        async def check() -> None:
            daemon = self.start()
            await until(self.results_from_two_tasks, "results of two tasks")
            await until(self.a_mean, "a rolling mean of samples that came back from JetStream")
            ready = await get_json(f"http://127.0.0.1:{self.admin}/ready")
            self.assertEqual(ready, [])
            health = await get_json(f"http://127.0.0.1:{self.gateway}/health")
            self.assertEqual(health, {"status": "healthy"})
            below = children(daemon.pid)
            self.assertTrue(below, "the nats-server is a child")
            self.assertEqual(await daemon.stop(), 0)
            self.assertEqual([pid for pid in below if is_alive(pid)], [])
            self.assertNotIn("Traceback", daemon.output)

        return Deferred.fromCoroutine(check())

    def test_what_the_readme_says(self) -> Deferred[None]:
        """Its lines are in the log, and its commands, which it has at the node while that runs, end well."""
        demo, _, _ = (ROOT / "README.rst").read_text().partition("A function of your own")
        shown, _, _ = demo.partition("summary      last 10 s")

        async def check() -> None:
            daemon = self.start()
            await says_what_is_shown(shown, daemon)
            commands = COMMAND.findall(demo)
            self.assertGreater(len(commands), 6)
            for command, comment in commands:
                for shipped, other in [
                    *zip(PORTS, self.ports, strict=True),
                    (".venv/bin/", ""),
                    ("etc/", ""),
                ]:
                    command = command.replace(shipped, str(other))
                out, errors, status = await run_program(self.folder, "/bin/sh", "-c", command)
                self.assertEqual(status, 0, f"{command}\n{out}{errors}")
                if comment.startswith(("{", "[")):
                    self.assertEqual(out.strip(), comment.partition(" - ")[0], command)
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_changing_the_task_file_changes_the_tasks(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start()
            await daemon.says("4 tasks received")
            (self.folder / "tasks.yaml").write_text("- task_id: only-load\n  task_params: {metric: load}\n")
            await daemon.says("1 tasks? received: only-load")

            async def reported() -> bool:
                return any(result["task_id"] == "only-load" for result in (await self.state())["results"])

            await until(reported, "a result of the new task")
            self.assertEqual(await daemon.stop(signal.SIGINT), 0)

        return Deferred.fromCoroutine(check())

    def test_killed_node_takes_its_nats_server_along(self) -> Deferred[None]:
        """After SIGKILL nothing can clean up, and yet nothing is left; the next node starts as usual."""

        async def check() -> None:
            daemon = self.start()
            await daemon.says("ready")
            below = children(daemon.pid)
            self.assertTrue(below)
            os.kill(daemon.pid, signal.SIGKILL)
            self.assertEqual(await daemon.end(), -signal.SIGKILL)

            async def gone() -> bool:
                return not any(is_alive(pid) for pid in below)

            await until(gone, "the nats-server gone")
            again = self.start()
            await until(self.results_from_two_tasks, "results after the restart")
            self.assertEqual(await again.stop(), 0)

        return Deferred.fromCoroutine(check())
