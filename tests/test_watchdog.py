"""Tests for scfd.adapter.watchdog: a real thread, and this one blocked for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter import watchdog
from scfd.adapter.watchdog import BlockedError, Watchdog
from scfd.events.event import TriggerEvent
from scfd.status.context import Context

#: Seconds until a test fails; each takes a tenth of one.
PATIENCE = 10.0


class Reactor(Clock):
    """
    Turns at once when it is asked to, unless it is blocked.

    :ivar turns: how often it has turned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocked = False
        self.turns = 0
        self.later: list[Callable[[], object]] = []

    def callFromThread(self, function: Callable[[], object]) -> None:
        if self.blocked:
            self.later.append(function)
        else:
            self.turns += 1
            function()


class WatchdogTests(SynchronousTestCase):
    def setUp(self) -> None:
        for name, seconds in (("LIMIT", 0.05), ("PERIOD", 0.01), ("AGAIN", 0.1)):
            self.patch(watchdog, name, seconds)
        self.reactor = Reactor()
        self.context = Context(self.reactor)
        self.watchdog = Watchdog("my-plugin", self.context)
        self.watchdog.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.watchdog.stopService()
        for function in self.reactor.later:
            function()
        for thread in threading.enumerate():
            if thread.name == "scfd-watchdog":
                thread.join(PATIENCE)
                self.assertFalse(thread.is_alive())

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)

    def block(self, lines: int, event: TriggerEvent | None = None) -> list[LogEvent]:
        """What is logged in a function that goes on until there are so many lines."""
        with capturedLogs() as events:
            self.reactor.blocked = True
            self.until(lambda: len(events) >= lines)
        self.flushLoggedErrors(BlockedError)
        return list(events)

    def stalls(self) -> float | None:
        return self.context.metrics.registry.get_sample_value("scfd_plugin_stalls_total")

    def test_a_reactor_that_turns(self) -> None:
        with capturedLogs() as events:
            self.until(lambda: self.reactor.turns > 10)
        self.assertEqual((events, self.stalls()), ([], 0))

    def test_says_who_blocks_it_and_where(self) -> None:
        said, *_ = self.block(1, TriggerEvent("nats", "my-queue", None, {}))
        self.assertRegex(
            formatEvent(said),
            r"^plugin my-plugin has blocked the reactor for \d\.\d s, at an event of trigger my-queue; "
            r"nothing else runs meanwhile$",
        )
        traceback = said["log_failure"].getTraceback()
        self.assertIn("in until\n", traceback)
        self.assertIn("in block\n    self.until(lambda: len(events) >= lines)\n", traceback)
        self.assertEqual(self.stalls(), 1)

    def test_without_an_event(self) -> None:
        """As in init, or behind a callback."""
        said, *_ = self.block(1)
        self.assertRegex(formatEvent(said), r"has blocked the reactor for \d\.\d s; nothing")

    def test_says_it_again_while_it_goes_on_and_when_it_is_over(self) -> None:
        said = self.block(2)
        for event in said:
            self.assertRegex(formatEvent(event), r"for \d\.\d s;")
        with capturedLogs() as events:
            self.reactor.blocked = False
            for function in self.reactor.later:
                function()
            self.until(lambda: events and "goes on" in formatEvent(events[-1]))
        self.assertRegex(formatEvent(events[-1]), r"^the reactor goes on after \d\.\d s in plugin my-plugin$")
        self.assertEqual(self.stalls(), 1)
