"""A daemon tells the terminal how its start went; and the other ways to start a node."""

from __future__ import annotations

import contextlib  # not `suppress` from it: trial takes a module's attribute of that name for its own
import ctypes
import json
import os
import signal
import socket
from pathlib import Path

import treq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, is_alive, until

PR_SET_CHILD_SUBREAPER = 36


class BackgroundTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.gateway, self.admin, self.control_plane = free_ports(3)
        self.log = self.folder / "state/scfd.log"

    def daemon(self) -> Daemon:
        config = {
            "system": {
                "name": "n",
                "version": "v1.0.0",
                "node_id": "node",
                "state_dir": str(self.folder / "state"),
            },
            "heartbeat": {"interval": 1, "server_url": f"http://127.0.0.1:{self.control_plane}"},
            "gateway": {"listen": f"127.0.0.1:{self.gateway}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": "recorder", "path": str(ROOT / "tests/integration/plugins")},
            "plugin": {"events": str(self.folder / "events.jsonl")},
            "dev": {"control_plane": {"listen": f"127.0.0.1:{self.control_plane}"}},
        }
        daemon = Daemon(json.dumps(config), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon

    async def in_background(self, *arguments: str) -> int:
        """:returns: the process that runs, once the one that was started has ended."""
        first = self.daemon()
        status = await first.start(*arguments, "scfd", "--config", "config.yaml").end()
        self.assertEqual((status, first.errors), (0, ""))
        pid = int((self.folder / "twistd.pid").read_text())
        self.addCleanup(_kill, pid)
        self.assertIn(f"scfd: runs in the background as process {pid}; log file ", first.output)
        self.assertIn(f"; pid file {self.folder / 'twistd.pid'}\n", first.output)
        return pid

    async def test_starts(self) -> None:
        pid = await self.in_background()
        self.assertIn("ready", self.log.read_text())
        self.assertEqual(self.log.stat().st_mode & 0o077, 0)
        os.kill(pid, signal.SIGTERM)

        async def gone() -> bool:
            return not is_alive(pid)

        await until(gone, "the end of the daemon")
        self.assertIn("SIGTERM: stopping", self.log.read_text())
        self.assertFalse((self.folder / "twistd.pid").exists())

    async def test_a_log_file_that_is_named(self) -> None:
        await self.in_background("--logfile", "mine.log")
        self.assertIn("ready", (self.folder / "mine.log").read_text())
        self.assertFalse(self.log.exists())

    async def test_a_start_that_fails(self) -> None:
        taken = socket.create_server(("127.0.0.1", self.gateway))
        self.addCleanup(taken.close)
        daemon = self.daemon()
        self.assertEqual(await daemon.start("scfd", "--config", "config.yaml").end(), 1)
        self.assertEqual(
            daemon.errors,
            f"scfd: gateway.listen: can't listen on 127.0.0.1:{self.gateway}: Address already in use; "
            "choose another address\n",
        )
        self.assertIn("could not start: gateway.listen", self.log.read_text())
        self.assertFalse((self.folder / "twistd.pid").exists())

    async def test_files_that_can_not_be_written(self) -> None:
        for option, what in (("--logfile", "log"), ("--pidfile", "pid")):
            daemon = self.daemon()
            status = await daemon.start(option, "/proc/no/file", "scfd", "--config", "config.yaml").end()
            self.assertEqual(status, 1, daemon.output)
            self.assertRegex(
                daemon.errors,
                rf"^scfd: the {what} file /proc/no/file can't be written.*; expected another .* {option}\n$",
            )

    async def test_reloading_is_for_the_foreground(self) -> None:
        daemon = self.daemon()
        self.assertEqual(await daemon.start("scfd", "--reload", "--config", "config.yaml").end(), 1)
        self.assertRegex(daemon.errors, "^scfd: --reload is for the foreground; expected twistd -n, or .*\n$")

    async def test_a_pid_file_of_another_process(self) -> None:
        (self.folder / "twistd.pid").write_text(str(os.getpid()))
        daemon = self.daemon()
        self.assertEqual(await daemon.start("scfd", "--config", "config.yaml").end(), 1)
        self.assertRegex(
            daemon.errors, rf"^scfd: the pid file \S+ names process {os.getpid()}, which runs; .*\n$"
        )

    async def test_status_3(self) -> None:
        """For whoever is its parent then: systemd, or as here whoever adopts orphans."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.addCleanup(ctypes.CDLL(None).prctl, PR_SET_CHILD_SUBREAPER, 0)
        pid = await self.in_background()
        faults = f"http://127.0.0.1:{self.control_plane}/faults"
        await treq.post(faults, json={"package_version": "v2"}, persistent=False, timeout=5)

        async def ended() -> int:
            return not is_alive(pid)

        await until(ended, "the end of the daemon")
        _, status = os.waitpid(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 3)


class OtherWaysTests(TestCase):
    timeout = 60

    def test_python_m_twisted(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check("-m", "twisted", "scfd", "--config", "config.yaml"))

    def test_python_m_scfd(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check("-m", "scfd", "run"))

    async def check(self, *arguments: str) -> None:
        folder = Path(self.mktemp()).absolute()
        config = {
            "system": {"name": "n", "state_dir": str(folder / "state")},
            "admin": {"listen": ""},
            "adapter": {"native": "recorder", "path": str(ROOT / "tests/integration/plugins")},
            "plugin": {"events": str(folder / "events.jsonl")},
        }
        daemon = Daemon(json.dumps(config), folder)
        self.addCleanup(daemon.clean_up)
        daemon.start_python(*arguments)
        await daemon.says(r"info  node         ready")
        self.assertEqual(await daemon.stop(), 0)
        self.assertEqual(daemon.errors, "")
        self.assertEqual(sorted(each.name for each in folder.glob("twistd*")), [])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
