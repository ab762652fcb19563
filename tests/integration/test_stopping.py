"""A node ends when it is asked to, whatever keeps it busy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, reactor, until
from tests.integration.node import asynchronous


class StoppingTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def start(self, how: str, triggers: list[Any], drain: float, *arguments: str) -> Daemon:
        return self.made(how, triggers, drain).start(*arguments)

    def made(self, how: str, triggers: list[Any], drain: float) -> Daemon:
        config = {
            "system": {"name": "n", "state_dir": str(self.folder / "state")},
            "admin": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
            "adapter": {"native": "stuck", "path": str(ROOT / "tests/integration/plugins")},
            "triggers": triggers,
            "plugin": {"how": how},
            "shutdown": {"drain": drain},
        }
        daemon = Daemon(json.dumps(config), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon

    async def seconds_to_stop(self, daemon: Daemon) -> float:
        asked = reactor.seconds()
        self.assertEqual(await daemon.stop(), 0, daemon.output)
        return float(reactor.seconds() - asked)

    TIMER = ({"name": "t", "type": "timer", "settings": {"cron": "* * * * * * *"}},)

    @asynchronous
    async def test_a_call_that_never_ends_has_the_drain_limit(self) -> None:
        daemon = self.start("deferred", [*self.TIMER], 1)
        await daemon.says("stuck from now on")
        took = await self.seconds_to_stop(daemon)
        self.assertTrue(0.9 < took < 3, took)
        self.assertIn("work was still under way after 1.0 s", daemon.output)

    @asynchronous
    async def test_a_second_signal_hurries(self) -> None:
        daemon = self.start("deferred", [*self.TIMER], 60)
        await daemon.says("stuck from now on")
        daemon.send(signal.SIGTERM)
        await daemon.says("SIGTERM: stopping")
        await deferLater(reactor, 1.2)
        self.assertLess(await self.seconds_to_stop(daemon), 3)

    @asynchronous
    async def test_a_thread_that_never_ends_is_left_behind(self) -> None:
        daemon = self.start("thread", [*self.TIMER], 0.5)
        await daemon.says("stuck from now on")
        took = await self.seconds_to_stop(daemon)
        self.assertTrue(3 < took < 6, took)
        self.assertIn("a thread of the plugin does not end", daemon.output)

    @asynchronous
    async def test_a_plugin_that_blocks_the_reactor_is_named(self) -> None:
        daemon = self.start("sleep", [*self.TIMER], 0.5)
        await daemon.says(
            r"error plugin +plugin stuck has blocked the reactor for 1\.\d s, at an event of trigger t; .*\n"
            r"(?s:.*)stuck.py\", line \d+, in on_trigger\n +time.sleep\(1.8\)\n"
        )
        await daemon.says(r"the reactor goes on after [12]\.\d s in plugin stuck")
        await self.seconds_to_stop(daemon)

    @asynchronous
    async def test_a_signal_at_any_moment_of_the_start(self) -> None:
        """From the moment on in which any code of the node runs: it handles SIGUSR2 last."""
        for pause in (0, 0.02, 0.05, 0.1, 0.15, 0.2):
            daemon = self.start("deferred", [], 1)
            while not catches(daemon.pid, signal.SIGUSR2):
                await deferLater(reactor, 0.002)
            await deferLater(reactor, pause)
            self.assertLess(await self.seconds_to_stop(daemon), 2)
            self.assertNotIn("Traceback", daemon.output)

    @asynchronous
    async def test_a_signal_at_any_moment_of_scfd_run(self) -> None:
        """Here nothing is imported before the signals are handled."""
        for number in (signal.SIGTERM, signal.SIGINT):
            for pause in (0, 0.05, 0.1, 0.2, 0.3):
                daemon = self.made("deferred", [], 1).start_python("-m", "scfd", "run", "config.yaml")
                while not catches(daemon.pid, signal.SIGUSR2):
                    await deferLater(reactor, 0.002)
                await deferLater(reactor, pause)
                self.assertEqual(await daemon.stop(number), 0, daemon.output)
                self.assertNotIn("Traceback", daemon.output)

    @asynchronous
    async def test_signals_without_a_meaning_at_any_moment_of_scfd_run(self) -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            daemon = self.made("deferred", [], 1).start_python("-m", "scfd", "run", "config.yaml")
            while not catches(daemon.pid, signal.SIGUSR2):
                await deferLater(reactor, 0.002)
            while "ready" not in daemon.output:
                daemon.send(number)
                await deferLater(reactor, 0.02)
            self.assertEqual(await daemon.stop(), 0, daemon.output)

    def test_next_to_nothing_is_imported_before_signals_are_handled(self) -> None:
        code = "import sys, scfd.__main__; print({'attr', 'twisted', 'asyncio'} & {*sys.modules})"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True)
        self.assertEqual(said.stdout, "set()\n")

    @asynchronous
    async def test_signals_that_end_other_processes(self) -> None:
        arguments = ("-n", "--logfile", "node.log", "scfd", "--config", "config.yaml")
        daemon = self.start("deferred", [], 1, *arguments)
        log, moved = self.folder / "node.log", self.folder / "moved.log"
        await until_in(log, "ready")
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGHUP):
            log.rename(moved)
            daemon.send(number)
            if number is signal.SIGHUP:
                await until_in(log, "SIGHUP: opened node.log again")
            else:
                await deferLater(reactor, 0.1)
                moved.rename(log)
        self.assertEqual(await self.seconds_to_stop(daemon) // 5, 0)
        self.assertIn("stopped", log.read_text())

    @asynchronous
    async def test_a_hang_up_without_a_log_file(self) -> None:
        daemon = self.start("deferred", [], 1)
        await daemon.says("ready")
        daemon.send(signal.SIGHUP)
        await daemon.says("SIGHUP: there is no log file to open again")
        await self.seconds_to_stop(daemon)

    @asynchronous
    async def test_a_nats_server_that_is_not_there_delays_nothing(self) -> None:
        settings = {
            "url": f"nats://127.0.0.1:{free_ports(1)[0]}",
            "stream": "S",
            "subject": "s",
            "consumer_name": "c",
        }
        daemon = self.start("deferred", [{"name": "q", "type": "nats", "settings": settings}], 30)
        await daemon.says("warn +nats +q: ")
        self.assertLess(await self.seconds_to_stop(daemon), 3)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


async def until_in(file: Path, text: str) -> None:
    async def found() -> bool:
        return text in file.read_text()

    await until(found, f"{text!r} in {file}")
