"""Tests for scfd.admin.summary."""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.admin.summary import Summary


@define
class Counts:
    """What a summary asks the dispatcher and the reports for."""

    succeeded: int = 0
    failed: int = 0
    delivered: int = 0
    waiting: int = 0

    def pending(self) -> int:
        return self.waiting


class SummaryTests(SynchronousTestCase):
    def setUp(self) -> None:
        # What came before the first minute is no news in it.
        self.counts = Counts(succeeded=100, failed=10, delivered=50)
        both: Any = self.counts
        self.now = 0.0
        self.summary = Summary(both, both, self.now)

    def said(self) -> list[str]:
        self.now += 60
        with capturedLogs() as logged:
            self.summary.log(self.now)
        return [formatEvent(event) for event in logged]

    def test_nothing_happened(self) -> None:
        self.assertEqual(self.said(), [])

    def test_what_happened_since_the_last_time(self) -> None:
        self.counts.succeeded += 12
        self.counts.failed += 1
        self.counts.delivered += 3
        self.counts.waiting = 2
        self.assertEqual(
            self.said(),
            ["last 60 s: 12 events handled, 1 failed; 3 task results delivered, 2 waiting"],
        )
        self.counts.waiting = 0
        self.assertEqual(self.said(), [])

    def test_results_that_wait_are_told_each_minute(self) -> None:
        self.counts.waiting = 7
        line = "last 60 s: 0 events handled, 0 failed; 0 task results delivered, 7 waiting"
        self.assertEqual(self.said() + self.said(), [line, line])
