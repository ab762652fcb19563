"""Tests for scfd.sd_notify, with a real socket of a service manager."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from scfd.sd_notify import RETRY, ServiceManager
from scfd.status.readiness import Phase

READY, STOPPING = b"READY=1\nSTATUS=ready", b"STOPPING=1\nSTATUS=stopping"


class ServiceManagerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        # Not below the test's folder: a path of more than 107 bytes is no address.
        self.path = f"/tmp/scfd-notify-{os.getpid()}"
        self.addCleanup(Path(self.path).unlink, missing_ok=True)

    def listen(self, address: str = "") -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.setblocking(False)
        listener.bind(address or self.path)
        return listener

    def heard(self, listener: socket.socket) -> list[bytes]:
        received = []
        while True:
            try:
                received.append(listener.recv(4096))
            except BlockingIOError:
                return received

    def manager(self, **environ: str) -> ServiceManager:
        return ServiceManager({"NOTIFY_SOCKET": self.path, **environ}, self.clock)

    def test_ready_only_when_ready(self) -> None:
        listener, manager = self.listen(), self.manager()
        manager.entered(Phase.STARTING)
        self.assertEqual(self.heard(listener), [])
        manager.entered(Phase.RUNNING)
        self.assertEqual(self.heard(listener), [READY])
        manager.entered(Phase.STOPPING)
        self.assertEqual(self.heard(listener), [STOPPING])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog_at_half_of_its_period(self) -> None:
        listener, manager = self.listen(), self.manager(WATCHDOG_USEC="10000000")
        manager.entered(Phase.STARTING)
        manager.entered(Phase.RUNNING)
        self.heard(listener)
        self.clock.advance(4.9)
        self.assertEqual(self.heard(listener), [])
        for _ in range(3):
            self.clock.advance(5)
            self.assertEqual(self.heard(listener), [b"WATCHDOG=1"])

    def test_watchdog_of_another_process(self) -> None:
        manager = self.manager(WATCHDOG_USEC="10000000", WATCHDOG_PID="1")
        self.listen()
        manager.entered(Phase.RUNNING)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_abstract_socket(self) -> None:
        listener = self.listen(f"\0scfd-{os.getpid()}")
        ServiceManager({"NOTIFY_SOCKET": f"@scfd-{os.getpid()}"}, self.clock).entered(Phase.RUNNING)
        self.assertEqual(self.heard(listener), [READY])

    def test_no_service_manager(self) -> None:
        ServiceManager({"WATCHDOG_USEC": "10000000"}, self.clock).entered(Phase.RUNNING)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_not_heard_is_said_again(self) -> None:
        manager = self.manager(WATCHDOG_USEC="nonsense")
        with capturedLogs() as logged:
            manager.entered(Phase.RUNNING)
            self.clock.advance(RETRY)
        self.assertEqual([event["reason"] for event in logged], ["No such file or directory"])
        listener = self.listen()
        self.clock.advance(RETRY)
        self.assertEqual(self.heard(listener), [READY])
