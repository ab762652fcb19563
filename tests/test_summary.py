"""Tests for scfd.admin.summary: a line a minute, in which something has happened."""

from __future__ import annotations

from scfd.testing import Node
from tests.nodes import NodeTestCase, timer, well


class SummaryTests(NodeTestCase):
    def said(self, node: Node) -> list[str]:
        return [line.partition("summary: ")[2] for line in node.log if "scfd.summary" in line]

    def test_what_happened_in_each_minute(self) -> None:
        node = self.node(well, timer("t", "5-50/15 1,2 * * * * *"), tasks=[{"task_id": "a"}])
        node.fail_next(ValueError())
        node.advance(minutes=4)
        self.assertEqual(
            self.said(node),
            [
                "last 60 s: 3 events handled, 1 failed; 3 task results delivered, 0 waiting",
                "last 60 s: 4 events handled, 0 failed; 4 task results delivered, 0 waiting",
            ],
        )
        self.flushLoggedErrors(ValueError)

    def test_results_that_wait_are_told_each_minute(self) -> None:
        node = self.node(well, timer("t", "30 0 0 * * * *"), tasks=[{"task_id": "a"}])
        node.control_plane.down()
        node.advance(minutes=2)
        waiting = "0 failed; 0 task results delivered, 1 waiting"
        self.assertEqual(
            self.said(node), [f"last 60 s: {count} events handled, {waiting}" for count in (1, 0)]
        )
