"""One log line a minute that says what the node did."""

from __future__ import annotations

from twisted.logger import Logger

from scfd.dispatch import Dispatcher
from scfd.reports.delivery import Reports

_log = Logger(namespace="scfd.summary")


class Summary:
    """
    Compares the counts of now with those of the last time.

    :param now: the wall clock, seconds since the epoch.
    """

    def __init__(self, dispatcher: Dispatcher, reports: Reports, now: float) -> None:
        self._dispatcher = dispatcher
        self._reports = reports
        self._last = self._counts()
        self._last_time = now

    def _counts(self) -> tuple[int, int, int]:
        return self._dispatcher.succeeded, self._dispatcher.failed, self._reports.delivered

    def log(self, now: float) -> None:
        """Say what happened since the last call, if anything did."""
        counts = self._counts()
        succeeded, failed, delivered = (new - old for new, old in zip(counts, self._last, strict=True))
        self._last = counts
        seconds, self._last_time = now - self._last_time, now
        if succeeded or failed or delivered or self._reports.pending():
            _log.info(
                "last {seconds:.0f} s: {succeeded} events handled, {failed} failed; "
                "{delivered} task results delivered, {pending} waiting",
                seconds=seconds,
                succeeded=succeeded,
                failed=failed,
                delivered=delivered,
                pending=self._reports.pending(),
            )
