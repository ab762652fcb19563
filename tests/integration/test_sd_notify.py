"""systemd hears of a node: ready, alive while its reactor turns, stopping."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, reactor, until

CONFIG = """
system: {{name: minimal, version: v1, state_dir: state}}
gateway: {{listen: "127.0.0.1:{}"}}
admin: {{listen: "127.0.0.1:{}"}}
adapter: {{native: minimal, path: {root}/examples/minimal}}
plugin: {{currency: EUR}}
"""


class NotifyTests(TestCase):
    timeout = 60

    def test_from_ready_to_stopping(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.watch())

    async def watch(self) -> None:
        # Not below the test's folder: a path of more than 107 bytes is no address.
        path = f"/tmp/scfd-notify-{os.getpid()}"
        self.addCleanup(Path(path).unlink)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.setblocking(False)
        self.socket.bind(path)
        config = CONFIG.format(*free_ports(2), root=ROOT)
        environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}
        daemon = Daemon(config, Path(self.mktemp()).absolute(), environ).start()
        self.addCleanup(daemon.clean_up)
        self.heard: list[bytes] = []

        await daemon.says("listening")
        await until(lambda: self.has(b"READY=1\nSTATUS=ready"), "READY")
        self.assertIn(" ready", daemon.output)
        self.heard.clear()
        await until(lambda: self.has(b"WATCHDOG=1"), "WATCHDOG")
        daemon.send(signal.SIGSTOP)  # as if something blocked the reactor
        await deferLater(reactor, 0.3)
        await self.has(b"")
        self.heard.clear()
        await deferLater(reactor, 1)
        self.assertFalse(await self.has(b"WATCHDOG=1"))
        daemon.send(signal.SIGCONT)
        await until(lambda: self.has(b"WATCHDOG=1"), "WATCHDOG")
        self.assertNotIn(b"STOPPING=1\nSTATUS=stopping", self.heard)
        self.assertEqual(await daemon.stop(), 0)
        self.assertTrue(await self.has(b"STOPPING=1\nSTATUS=stopping"))

    async def has(self, message: bytes) -> bool:
        while True:
            try:
                self.heard.append(self.socket.recv(4096))
            except BlockingIOError:
                return message in self.heard
