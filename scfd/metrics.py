"""Every figure the node keeps of itself, in a registry of its own, so that a process can have many nodes."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# They would make up a third of the page, and nobody asks when a counter was first counted.
disable_created_metrics()

#: Seconds; from a no-op native plugin (below 1 ms) to the longest call the platform allows (900 s).
_CALL_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120, 900)
#: Seconds; a timer on an idle machine is late by 1-3 ms.
_LATENESS_BUCKETS = (0.001, 0.002, 0.004, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60)


class Metrics:
    """
    The node's metrics, by the names they have in Prometheus without ``scfd_`` and ``_total``.

    Gauges are given a function to ask where they are wired up, so that no figure is kept twice.

    :ivar registry: what ``GET /metrics`` shows.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"scfd_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"scfd_{name}", text, registry=registry)

        self.events = counter(
            "events", "Events the plugin was given, by how they ended.", "trigger", "outcome"
        )
        self.event_seconds = Histogram(
            "scfd_event_seconds",
            "How long the plugin took.",
            ["trigger"],
            registry=registry,
            buckets=_CALL_BUCKETS,
        )
        self.events_running = gauge("events_running", "Events the plugin is acting on.")
        self.timer_lateness = Histogram(
            "scfd_timer_lateness_seconds",
            "From the scheduled second of a fire to its event.",
            ["trigger"],
            registry=registry,
            buckets=_LATENESS_BUCKETS,
        )
        self.timer_skipped = counter("timer_skipped", "Fires left out, by reason.", "trigger", "reason")
        self.messages = counter("messages", "NATS messages, by what became of them.", "trigger", "outcome")
        self.results = counter("results", "Task results from the plugin, by status.", "status")
        self.results_dropped = counter("results_dropped", "Task results that could not be used.", "reason")
        self.reports = counter("reports", "Tries to deliver a task result, by outcome.", "outcome")
        self.reports_pending = gauge("reports_pending", "Task results not delivered yet.")
        self.heartbeats = counter("heartbeats", "Heartbeats, by how they ended.", "outcome")
        self.probes = counter("probes", "Probes received, by outcome.", "outcome")
        self.tasks = gauge("tasks", "Tasks in the task list.")
        self.gateway_requests = counter(
            "gateway_requests", "Requests to the gateway, by status code.", "code"
        )

    def exposition(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.registry)
