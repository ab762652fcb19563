"""Every figure the node keeps of itself, in a registry of its own, so that a process can have many nodes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from platform import python_version

import twisted
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from scfd import __version__

# They would make up a third of the page, and nobody asks when a counter was first counted.
disable_created_metrics()

#: Seconds; from a no-op native plugin (below 1 ms) to the longest call the platform allows (900 s).
_CALL_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30, 120, 900)
#: Seconds; a timer on an idle machine is late by 1-3 ms.
_LATENESS_BUCKETS = (0.001, 0.002, 0.004, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 60)


#: Values of a label that have a histogram of their own. Of 10,000 triggers the page would be 20 MB long, and
#: take 0.2 s to make; counters have them all.
MOST_VALUES = 500
#: The value under which the rest of them is counted.
OTHERS = "others"
#: Bytes of the page that are made before something else has its turn: 1-2 ms.
AT_ONCE = 400_000
#: Lines of one counter that are made at once: below 1 ms.
LINES_AT_ONCE = 500


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Distribution:
    """
    How a figure of one label value is spread: counts by bucket, and the sum.

    :ivar counts: of each bucket alone, that without an upper bound last.
    """

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.sum += value


class Histogram(Collector):
    """
    A histogram with one label, on one thread.

    That of prometheus_client has a lock and an object for each bucket: 14 us for a new label value, which
    a thousand timers of one second all have at their first fire, and 2 us an observation. Here it is 1 us
    and 0.3 us; and to write it out takes 5 us a value, not 55.
    """

    def __init__(self, name: str, text: str, label: str, buckets: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._buckets = tuple(buckets)
        self._bounds = [*map(floatToGoString, buckets), "+Inf"]
        self._children: dict[str, Distribution] = {}
        #: The lines of one value of the label, which stands in them as a NUL.
        self._lines = (
            "".join(f'{name}_bucket{{le="{bound}",{label}="\0"}} %d.0\n' for bound in self._bounds)
            + f'{name}_count{{{label}="\0"}} %d.0\n{name}_sum{{{label}="\0"}} %s\n'
        )

    def labels(self, value: str) -> Distribution:
        """What is known of one value of the label, or of `OTHERS`; it stays the same object."""
        child = self._children.get(value)
        if child is None:
            if len(self._children) >= MOST_VALUES:
                value = OTHERS
            child = self._children.setdefault(value, Distribution(self._buckets))
        return child

    def exposition(self) -> Iterator[str]:
        """In Prometheus's text format, in parts."""
        yield f"# HELP {self._name} {self._text}\n# TYPE {self._name} histogram\n"
        for value, child in list(self._children.items()):
            counts = list(accumulate(child.counts))
            lines = self._lines % (*counts, counts[-1], floatToGoString(child.sum))
            yield lines.replace("\0", _escaped(value))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for value, child in self._children.items():
            family.add_metric(
                [value], list(zip(self._bounds, accumulate(child.counts), strict=True)), child.sum
            )
        yield family


class Count:
    """
    :ivar head: its line in Prometheus's text format, up to the value.
    :ivar value: how often it has happened.
    """

    __slots__ = ("head", "value")

    def __init__(self, head: str = "") -> None:
        self.head = head
        self.value = 0

    def inc(self, count: int = 1) -> None:
        """Count some more."""
        self.value += count


class Tally(Collector):
    """A counter with labels, on one thread: a tenth of what prometheus_client's costs with its lock."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._children: dict[tuple[str, ...], Count] = {}

    def labels(self, *values: str) -> Count:
        """What is known of one value of each label; it stays the same object."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Count(self._head(values))
        return child

    def _head(self, values: tuple[str, ...]) -> str:
        pairs = sorted(zip(self._labels, values, strict=True))
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
        return f"{self._name}_total{f'{{{labels}}}' if labels else ''} "

    def value(self, *values: str) -> int:
        """How often it has happened with these values of the labels; asking makes none known."""
        child = self._children.get(values)
        return child.value if child is not None else 0

    def exposition(self) -> Iterator[str]:
        """In Prometheus's text format, in parts."""
        yield f"# HELP {self._name}_total {self._text}\n# TYPE {self._name}_total counter\n"
        children = list(self._children.values())
        for start in range(0, len(children), LINES_AT_ONCE):
            some = children[start : start + LINES_AT_ONCE]
            yield "".join([f"{child.head}{child.value}.0\n" for child in some])

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class Metrics:
    """
    The node's metrics, by the names they have in Prometheus without ``scfd_`` and ``_total``.

    Gauges are given a function to ask where they are wired up, so that no figure is kept twice.

    :ivar registry: all of them.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._few = few = CollectorRegistry()
        self._many: list[Histogram | Tally] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            made = Counter(f"scfd_{name}", text, labels, registry=few)
            registry.register(made)
            return made

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            made = Gauge(f"scfd_{name}", text, labels, registry=few)
            registry.register(made)
            return made

        def histogram(name: str, text: str, buckets: Sequence[float], label: str = "trigger") -> Histogram:
            made = Histogram(f"scfd_{name}", text, label, buckets)
            registry.register(made)
            self._many.append(made)
            return made

        def tally(name: str, text: str, *labels: str) -> Tally:
            made = Tally(f"scfd_{name}", text, *labels)
            registry.register(made)
            self._many.append(made)
            return made

        ProcessCollector(registry=few)
        build = gauge("build_info", "1, with what this node was made of.", "scfd", "python", "twisted")
        build.labels(__version__, python_version(), twisted.__version__).set(1)
        self.events = tally("events", "Events the plugin was given, by how they ended.", "trigger", "outcome")
        self.event_seconds = histogram("event_seconds", "How long the plugin took.", _CALL_BUCKETS)
        self.events_running = gauge("events_running", "Events the plugin is working on.")
        self.timer_lateness = histogram(
            "timer_lateness_seconds", "From the scheduled second of a fire to its event.", _LATENESS_BUCKETS
        )
        self.task_retries = tally(
            "task_retries", "Further attempts at tasks and messages that had failed.", "trigger"
        )
        self.tasks_left = tally(
            "tasks_left",
            "Tasks that were not begun, or cut off: the node stopped, or time was up.",
            "trigger",
        )
        self.timer_skipped = tally("timer_skipped", "Fires left out, by reason.", "trigger", "reason")
        self.plugin_requests = counter(
            "plugin_requests",
            "Events, tasks and messages sent to a plugin behind HTTP, by what came back.",
            "outcome",
        )
        self.plugin_restarts = counter(
            "plugin_restarts", "Times that the plugin's process was started again, by reason.", "reason"
        )
        self.plugin_threads_stuck = gauge(
            "plugin_threads_stuck", "Threads that still run an event that was given up."
        )
        self.plugin_stalls = counter(
            "plugin_stalls", "Times that a native plugin blocked the reactor for more than 1 s."
        )
        self.messages = tally("messages", "NATS messages, by what became of them.", "trigger", "outcome")
        self.redeliveries = tally(
            "redeliveries", "NATS messages that were not delivered for the first time.", "trigger"
        )
        self.nats_rebinds = tally(
            "nats_rebinds", "Times that a consumer was lost, or silent, and bound anew.", "trigger"
        )
        self.nats_pending = gauge(
            "nats_pending", "Messages that the consumer has not delivered yet.", "trigger"
        )
        self.nats_ack_pending = gauge(
            "nats_ack_pending", "Messages that nodes have been given and not acknowledged.", "trigger"
        )
        self.nats_held_bytes = gauge(
            "nats_held_bytes", "Bytes of the messages that this node has and has not finished.", "trigger"
        )
        self.nats_paused = gauge("nats_paused", "1 while an operator has paused the consumer.", "trigger")
        self.results = counter("results", "Task results from the plugin, by status.", "status")
        self.results_dropped = counter("results_dropped", "Task results that could not be used.", "reason")
        self.results_unknown = counter(
            "results_unknown", "Task results for a task_id that is not in the task list."
        )
        self.data_points_dropped = tally(
            "data_points_dropped", "Data points in plugin responses, which the node can't store.", "trigger"
        )
        self.reports = counter("reports", "Tries to deliver a task result, by outcome.", "outcome")
        self.storage_errors = counter("storage_errors", "Times that the disk refused work on the outbox.")
        self.reports_pending = gauge("reports_pending", "Task results not delivered yet.")
        self.reports_put_aside = gauge(
            "reports_put_aside", "Task results that the control plane refused or never took, and are kept."
        )
        self.ready = gauge("ready", "1 while GET /ready is 200.")
        self.problems = gauge("problems", "Entries of GET /ready, by severity.", "severity")
        self.heartbeats = counter("heartbeats", "Heartbeats, by how they ended.", "outcome")
        self.probes = counter("probes", "Probes received, by outcome.", "outcome")
        self.control_plane_moves = counter(
            "control_plane_moves", "Probes that named another control plane, by outcome.", "outcome"
        )
        self.control_plane_generation = gauge(
            "control_plane_generation", "Generation of the protocol that it speaks; 0 while none is known."
        )
        summed = "Log lines that were counted only, since they came many times."
        self.log_lines_summed = tally("log_lines_summed", summed).labels()
        self.log_lines_lost = tally("log_lines_lost", "Log lines that did not get there.", "output")
        self.tasks = gauge("tasks", "Tasks in the task list.")
        self.gateway_requests = counter(
            "gateway_requests", "Requests to the gateway, by status code.", "code"
        )
        self.gateway_seconds = histogram(
            "gateway_seconds", "From the head of a request to the end of its response.", _CALL_BUCKETS, "code"
        )
        self.gateway_running = gauge("gateway_running", "Requests under way.")
        self.gateway_connections = gauge("gateway_connections", "Connections of callers.")
        self.connections_not_accepted = counter(
            "connections_not_accepted", "Tries to accept a connection without a file descriptor for it."
        )
        self.gateway_refused = counter("gateway_refused", "Connections beyond max_connections.")
        self.gateway_plugin_connections = gauge(
            "gateway_plugin_connections", "Connections of the gateway to the plugin."
        )
        self.gateway_retries = counter(
            "gateway_retries", "Requests sent again, since an idle connection had been closed."
        )
        # From the start, since Prometheus does not see the first count of a series that was not there before.
        for rare, values in (
            (self.heartbeats, ("failed",)),
            (self.plugin_restarts, ("exit", "signal", "not responding", "not started", "address taken")),
            (self.probes, ("forbidden", "unauthorised")),
            (self.reports, ("refused", "put aside")),
            (self.results_dropped, ("malformed", "outbox full", "too many put aside")),
        ):
            for value in values:
                rare.labels(value)

    def exposition(self) -> Iterator[bytes]:
        """Everything, in Prometheus's text format, in parts that take a few milliseconds each."""
        yield generate_latest(self._few)
        some, length = [], 0
        for text in (text for metric in self._many for text in metric.exposition()):
            some.append(text)
            length += len(text)
            if length >= AT_ONCE:
                yield "".join(some).encode()
                some, length = [], 0
        yield "".join(some).encode()
