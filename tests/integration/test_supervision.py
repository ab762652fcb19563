"""Plugins that hang, do not listen, do not start: real daemons and real plugins in processes of their own."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.daemon import Daemon, children, free_ports, get_json, is_alive, reactor, until

PLUGIN = Path(__file__).with_name("unruly_plugin.py")


class SupervisionTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.plugin_folder = self.folder / "plugin"
        self.plugin_folder.mkdir(parents=True)
        self.plugin, self.admin, self.gateway = free_ports(3)
        self.environ: dict[str, str] = {}

    def start(self, *flaws: str, **settings: Any) -> Daemon:
        http = {
            "url": f"http://127.0.0.1:{self.plugin}",
            "command": [sys.executable, str(PLUGIN), str(self.plugin), *flaws],
            "cwd": "plugin",
            "env": {"GREETING": "hello"},
            **settings,
        }
        timer = {"name": "t", "type": "timer", "settings": {"cron": "* * * * * *"}}
        config = {
            "system": {"name": "f", "state_dir": "state"},
            "admin": {"listen": f"127.0.0.1:{self.admin}", "token": "${SCFD_TOKEN:-}"},
            "gateway": {"listen": f"127.0.0.1:{self.gateway}"},
            "adapter": {"http": http},
            "triggers": [timer],
        }
        daemon = Daemon(json.dumps(config), self.folder, self.environ)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.admin}{path}"

    async def metric(self, line: str) -> bool:
        return line in await (await treq.get(self.url("/metrics"), persistent=False)).text()

    def test_secrets_of_the_node_are_in_no_process_below_it(self) -> Deferred[None]:
        async def check() -> None:
            self.environ = {"SCFD_TOKEN": "hidden", "OTHER": "passed"}
            daemon = self.start("daemon")
            await daemon.says(" ready\n")
            below = children(daemon.pid)
            self.assertEqual(len(below), 3)  # the guard, the plugin, its daemon
            for pid in below:
                environ = Path(f"/proc/{pid}/environ").read_bytes()
                self.assertNotIn(b"hidden", environ)
                self.assertIn(b"OTHER=passed\0", environ)
            await daemon.says("the plugin does not get SCFD_TOKEN, from which the config takes secrets")
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_one_that_hangs_is_started_again(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start(health_interval=0.3, timeout=0.5)
            await daemon.says(f"hello from {self.plugin_folder.resolve()}")
            await daemon.says(" ready\n")
            (hanging,) = plugins(daemon)
            os.kill(hanging, signal.SIGSTOP)
            await daemon.says("the plugin can take no events: it has stopped responding")
            (problem,) = await get_json(self.url("/ready"))
            self.assertEqual(problem["component"], "plugin")
            await daemon.says("(?s)ready\n.*plugin f at \\S+ is ready")
            self.assertFalse(is_alive(hanging))
            self.assertTrue(await self.metric('scfd_plugin_restarts_total{reason="not responding"} 1.0'))
            self.assertTrue(await self.metric('scfd_plugin_requests_total{outcome="timeout"}'))
            await until(lambda: self.metric('scfd_plugin_requests_total{outcome="succeeded"}'), "an event")
            self.assertEqual(await get_json(self.url("/ready")), [])
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_a_guard_that_is_killed_while_a_daemon_holds_its_pipes(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start("daemon")
            await daemon.says(" ready\n")
            below = children(daemon.pid)
            self.assertEqual(len(below), 3)  # the guard, the plugin, its daemon
            os.kill(below[0], signal.SIGKILL)
            await daemon.says("(?s)the plugin is down: its process ended: killed by signal 9; .*is ready")
            for pid in below:
                self.assertFalse(is_alive(pid))
            self.assertEqual(len(children(daemon.pid)), 3)
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_one_that_serves_one_connection_at_a_time(self) -> Deferred[None]:
        """Its only connection is the gateway's: it is not killed, and every event gets a turn in time."""

        def call_until(end: float) -> int:
            """Call again and again on one connection."""
            connection, calls = HTTPConnection("127.0.0.1", self.gateway, timeout=10), 0
            while time.monotonic() < end:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"{}"
                calls += 1
            connection.close()
            return calls

        async def check() -> None:
            daemon = self.start("single", health_interval=0.4)
            await daemon.says(" ready\n")
            end = time.monotonic() + 5
            callers = [deferToThread(call_until, end) for _ in range(4)]
            for caller in callers:
                self.assertGreater(await caller, 10)
            self.assertNotIn("stopped responding", daemon.output)
            text = await (await treq.get(self.url("/metrics"), persistent=False)).text()
            figures = dict(re.findall(r'scfd_event_seconds_(sum|count){trigger="t"} ([\d.e+-]+)', text))
            self.assertGreaterEqual(float(figures["count"]), 4)
            # Without turns each takes 3 to 5 s; a busy machine makes one of them wait for more than a second.
            self.assertLess(float(figures["sum"]) / float(figures["count"]), 2)
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_a_node_without_file_descriptors(self) -> Deferred[None]:
        """It says so in a few lines, and leaves a healthy plugin alone."""

        async def check() -> None:
            daemon = self.start(health_interval=0.3)
            await daemon.says(" ready\n")
            (plugin,) = plugins(daemon)
            used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 5, used + 50))
            callers = [socket.create_connection(("127.0.0.1", self.gateway)) for _ in range(20)]
            await daemon.says("new connections can't be accepted: Too many open files")
            await daemon.says("plugin .*can't connect: Too many open files")  # of a check or event
            await deferLater(reactor, 3)
            for caller in callers:
                caller.close()
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 50, used + 50))
            problems = [problem["component"] for problem in await get_json(self.url("/ready"))]
            self.assertIn("connections", problems)

            async def well() -> bool:
                return bool(await get_json(self.url("/ready")) == [])

            await until(well, "the node is ready again")
            self.assertEqual(plugins(daemon), [plugin])
            self.assertLess(len(daemon.output.splitlines()), 60, daemon.output)
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_one_that_floods_and_does_not_listen(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start("deaf", "daemon", "flood")
            await daemon.says("xxxx")
            below = children(daemon.pid)
            self.assertEqual(len(below), 3)  # the guard, the plugin, its daemon
            before, began = cpu_seconds(daemon.pid), reactor.seconds()
            took = []
            for _ in range(20):
                asked = reactor.seconds()
                await treq.get(self.url("/live"), persistent=False)
                took.append(reactor.seconds() - asked)
            self.assertLess(median(took), 0.5)
            used = (cpu_seconds(daemon.pid) - before) / (reactor.seconds() - began)
            self.assertLess(used, 0.9, "the flood takes all of the node's time")
            self.assertEqual(await daemon.stop(), 0)
            for pid in below:
                self.assertFalse(is_alive(pid))

        return Deferred.fromCoroutine(check())

    def test_what_can_not_be_started(self) -> Deferred[None]:
        async def check() -> None:
            for settings, line in (
                ({"command": ["no-such-program"]}, "can't run no-such-program: No such file or directory"),
                ({"command": ["./x"], "cwd": "nowhere"}, "can't run in nowhere: No such file or directory"),
            ):
                daemon = self.start(**settings)
                began = reactor.seconds()
                self.assertEqual(await daemon.end(), 1)
                self.assertLess(reactor.seconds() - began, 10)
                expected = (
                    f"scfd: adapter.http.command: {line}; expected a program on PATH, or the path of one\n"
                )
                self.assertEqual(daemon.errors, expected)

        return Deferred.fromCoroutine(check())

    def test_something_else_has_its_address(self) -> Deferred[None]:
        async def check() -> None:
            with socket.create_server(("127.0.0.1", self.plugin)) as other:
                daemon = self.start(ready_timeout=10)
                await daemon.says("it can't be started: something else listens at its address")
                self.assertEqual(len(children(daemon.pid)), 0)
                other.close()
                await daemon.says(" ready\n")
                self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())


def plugins(daemon: Daemon) -> list[int]:
    """The plugin's own process, without its guard."""
    return [
        pid
        for pid in children(daemon.pid)
        if b"unruly_plugin" in Path(f"/proc/{pid}/cmdline").read_bytes()
        and b"guard.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
