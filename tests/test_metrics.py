"""Tests for scfd.status.metrics."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from scfd.status.metrics import MOST_VALUES, OTHERS, Metrics


class ExpositionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()

    def text(self) -> str:
        return b"".join(self.metrics.exposition()).decode()

    def test_what_prometheus_client_itself_would_write(self) -> None:
        metrics = self.metrics
        for name in ("a", 'with "quotes"', "back\\slash", "line\nend", "100 %d"):
            metrics.events.labels(name, "succeeded").inc(3)
            metrics.event_seconds.labels(name).observe(0.02)
            metrics.event_seconds.labels(name).observe(3_000)
            metrics.timer_lateness.labels(name).observe(1e-7)
        metrics.heartbeats.labels("accepted").inc()
        theirs, ours = generate_latest(metrics.registry).decode(), self.text()
        own = {line for line in ours.splitlines() if line.startswith("scfd_")}
        self.assertEqual({line for line in theirs.splitlines() if line.startswith("scfd_")}, own)

    def test_it_can_be_read(self) -> None:
        self.metrics.events.labels("t\\n", "failed").inc()
        families = {family.name: family for family in text_string_to_metric_families(self.text())}
        self.assertEqual(families["scfd_events"].samples[0].labels, {"trigger": "t\\n", "outcome": "failed"})
        self.assertEqual(families["scfd_event_seconds"].type, "histogram")
        for name in ("scfd_build_info", "process_resident_memory_bytes", "process_cpu_seconds"):
            self.assertIn(name, families)

    def test_thousands_of_triggers(self) -> None:
        for number in range(3 * MOST_VALUES):
            self.metrics.event_seconds.labels(f"t{number}").observe(1)
            self.metrics.events.labels(f"t{number}", "succeeded").inc()
        text = self.text()
        self.assertEqual(text.count("scfd_event_seconds_count"), MOST_VALUES + 1)
        self.assertIn(f'scfd_event_seconds_count{{trigger="{OTHERS}"}} {2 * MOST_VALUES}.0', text)
        self.assertEqual(text.count('outcome="succeeded"'), 3 * MOST_VALUES)
        self.assertGreater(len(list(self.metrics.exposition())), 2)
