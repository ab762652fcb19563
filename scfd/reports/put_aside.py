"""The results that the control plane refused or never took: kept for a person to look at."""

from __future__ import annotations

from twisted.logger import Logger

from scfd.control_plane.verdict import Verdict
from scfd.reports.outbox import Entry
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

COMPONENT = "task results"


class PutAside:
    """
    Says each of them in the log, and how many there are, of this run and earlier ones, in ``/ready``.

    :ivar count: how many there are.
    """

    def __init__(self, context: Context) -> None:
        self._readiness = context.readiness
        self._dropped = context.metrics.results_dropped.labels("too many put aside")
        self.count = 0

    def say(self, entry: Entry, verdict: Verdict, words: str) -> None:
        """Log one with what the control plane said."""
        task_id = entry.result.task_id
        if verdict is Verdict.REFUSED:
            _log.error("the result of task {task_id} is refused: {words}", task_id=task_id, words=words)
            return
        _log.error(
            "the result of task {task_id} is put aside: the control plane responded to {tries} tries"
            " in {minutes} minutes and did not take it: {words}",
            task_id=task_id,
            tries=entry.tries,
            minutes=round(entry.waited / 60),
            words=words,
        )

    def drop(self, count: int) -> None:
        """The outbox has dropped so many of them, the oldest."""
        if count:
            self._dropped.inc(count)
            _log.error("{count} task results are dropped, the oldest of those put aside", count=count)
            self.add(-count)

    def add(self, count: int) -> None:
        """There are so many more; fewer, when it is negative."""
        self.count += count
        if self.count:
            self._readiness.warning(
                COMPONENT,
                f"{self.count} put aside: the control plane refused them, or never took them",
                "look at them with `scfd reports`; retry or discard them",
            )
        else:
            self._readiness.well(COMPONENT)
