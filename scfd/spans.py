"""
Spans of events, of calls of the plugin and of tries to deliver a task result, for OpenTelemetry.

They are built from what the node knows when something has ended, with the ids that the plugin was given in
``traceparent``. The SDK's own thread exports them by OTLP over HTTP. Nothing here is imported, and no package
of OpenTelemetry's, unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` is set.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from random import getrandbits
from threading import Thread
from typing import Any

from attrs import frozen
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from scfd.events.event import TaskResult, TriggerEvent
from scfd.identity import Identity
from scfd.status.history import SUCCEEDED, PastEvent

#: Events and tasks that are remembered until their span can be made.
MOST_KNOWN = 10_000
#: Seconds that the last spans have to be exported when the node stops; a service has 5.
FLUSH_LIMIT = 2.0


@frozen
class _Past:
    """What has ended: seconds since the epoch, and how it failed; empty when it has not."""

    began: float
    ended: float
    error: str


class Spans(Service):
    """
    Makes spans, and exports what is left when it stops.

    :param now: the wall clock, seconds since the epoch.
    :param processor: what takes spans that have ended; the SDK's batches by default.
    """

    def __init__(
        self, identity: Identity, name: str, reactor: Any, now: Callable[[], float], processor: Any = None
    ) -> None:
        self._reactor = reactor
        self._now = now
        resource = {"service.name": name or "scfd", "service.version": identity.version}
        if identity.node_id:
            resource["service.instance.id"] = identity.node_id
        # OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win.
        self._resource = Resource(resource).merge(OTELResourceDetector().detect())
        self._processor = processor or BatchSpanProcessor(OTLPSpanExporter())
        self._calls: OrderedDict[str, _Past] = OrderedDict()
        self._tasks: OrderedDict[str, SpanContext] = OrderedDict()

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the last spans were exported, or could not be."""
        super().stopService()
        done: Deferred[None] = Deferred()
        # A thread that the end of the process does not wait for, unlike those of the reactor.
        Thread(target=self._shut_down, args=[done], daemon=True).start()
        return done.addTimeout(FLUSH_LIMIT, self._reactor, lambda *_: None)

    def _shut_down(self, done: Deferred[None]) -> None:
        self._processor.shutdown()
        self._reactor.callFromThread(_fire, done)

    def called(self, event: TriggerEvent, seconds: float, result: object) -> None:
        """
        The plugin has responded to an event.

        :param seconds: how long that took.
        :param result: its response, or a `Failure`.
        """
        error = result.getErrorMessage() if isinstance(result, Failure) else ""
        now = self._now()
        _remember(self._calls, event.traceparent, _Past(now - seconds, now, error))

    def reported(self, event: TriggerEvent, results: Sequence[TaskResult]) -> None:
        """Results of an event are about to be reported."""
        context = _context(event.traceparent)
        for each in results if context is not None else ():
            _remember(self._tasks, each.task_id, context)

    def event(self, past: PastEvent) -> None:
        """An event has ended: its span, below that of a message's publisher, and the call's below it."""
        traceparent = past.metadata.get("traceparent", "")
        context, call = _context(traceparent), self._calls.pop(traceparent, None)
        if context is None:
            return
        published = past.metadata.get("header.traceparent") or past.metadata.get("header.Traceparent", "")
        attributes = {
            "scfd.trigger": past.trigger,
            "scfd.trigger.type": past.type,
            "scfd.outcome": past.outcome,
            "scfd.task_results": past.result_count,
        }
        if past.lateness is not None:
            attributes["scfd.lateness"] = past.lateness
        for name in ("subject", "stream", "stream_sequence", "num_delivered"):
            if name in past.metadata:
                attributes[f"scfd.nats.{name}"] = past.metadata[name]
        kind = SpanKind.INTERNAL if past.type == "timer" else SpanKind.CONSUMER
        error = "" if past.outcome == SUCCEEDED else past.error or past.outcome
        whole = _Past(past.at, past.at + past.seconds, error)
        self._end(f"event {past.trigger}", context, _context(published), kind, whole, attributes)
        if call is not None:
            trigger = {"scfd.trigger": past.trigger}
            self._end("plugin call", _below(context), context, SpanKind.CLIENT, call, trigger)

    def tried(self, result: TaskResult, seconds: float, outcome: str) -> None:
        """
        A try to deliver a task result has ended.

        :param seconds: how long it took.
        """
        event = self._tasks.get(result.task_id)
        context = _below(event) if event is not None else _new()
        now = self._now()
        attributes = {"scfd.task_id": result.task_id, "scfd.task_status": result.status}
        attributes["scfd.outcome"] = outcome
        attempt = _Past(now - seconds, now, "" if outcome == "delivered" else outcome)
        self._end("report", context, event, SpanKind.CLIENT, attempt, attributes)

    def _end(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        past: _Past,
        attributes: Mapping[str, Any],
    ) -> None:
        failed = Status(StatusCode.ERROR, past.error[:500])
        self._processor.on_end(
            ReadableSpan(
                name,
                context,
                parent,
                self._resource,
                attributes,
                kind=kind,
                status=failed if past.error else Status(StatusCode.OK),
                start_time=int(past.began * 1e9),
                end_time=int(past.ended * 1e9),
            )
        )


def _fire(done: Deferred[None]) -> None:
    if not done.called:
        done.callback(None)


def _remember(known: OrderedDict[str, Any], key: str, value: Any) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST_KNOWN:
        known.popitem(last=False)


def _context(traceparent: str) -> SpanContext | None:
    parts = traceparent.split("-")
    if len(parts) != 4:
        return None
    try:
        trace, span, flags = (int(part, 16) for part in parts[1:])
    except ValueError:
        return None
    context = SpanContext(trace, span, is_remote=False, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _below(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, getrandbits(64) | 1, False, context.trace_flags)


def _new() -> SpanContext:
    return SpanContext(getrandbits(128) | 1, getrandbits(64) | 1, False, TraceFlags(TraceFlags.SAMPLED))
