"""Tests for scfd.spans."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from scfd import build
from scfd.config import Config
from scfd.errors import PluginError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.tasks import EMPTY_SNAPSHOT
from scfd.identity import Identity
from scfd.spans import Spans
from scfd.status.context import Context

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Processor:
    """Takes spans as the SDK's processors do."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def on_end(self, span: Any) -> None:
        self.spans.append(span)


class SpansTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_735_689_600)
        self.context = Context(self.clock, self.clock.seconds)
        self.processor = Processor()
        identity = Identity("node-abc", "v1")
        self.spans = Spans(identity, "fn", self.clock, self.clock.seconds, self.processor)
        self.context.history.watch(self.spans.event)

    def act(self, event: TriggerEvent, *results: TaskResult, failure: Failure | None = None) -> TriggerEvent:
        """Have an event handled, in two seconds, and 1 s more until its results are on disk."""
        event = event.at_node({}, EMPTY_SNAPSHOT)
        self.clock.advance(2)
        self.spans.called(event, 2, failure or TriggerResponse(results))
        self.spans.reported(event, results)
        self.clock.advance(1)
        self.context.history.ended(event, 3, failure, results)
        return event

    def test_event_and_call(self) -> None:
        event = self.act(TriggerEvent("timer", "t", {}))
        span, call = self.processor.spans
        self.assertEqual((span.name, span.parent), ("event t", None))
        trace, id = event.traceparent.split("-")[1:3]
        self.assertEqual((f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"), (trace, id))
        self.assertEqual((span.end_time - span.start_time) / 1e9, 3)
        self.assertEqual((call.name, call.parent), ("plugin call", span.context))
        self.assertEqual((call.end_time - call.start_time) / 1e9, 2)
        self.assertEqual(span.resource.attributes["service.name"], "fn")
        self.assertEqual(span.resource.attributes["service.instance.id"], "node-abc")
        self.assertTrue(span.status.is_ok)

    def test_a_message_is_below_its_publisher(self) -> None:
        metadata = {"header.traceparent": PARENT, "subject": "s.x", "num_delivered": "2"}
        self.act(TriggerEvent("nats", "q", {}, metadata))
        span = self.processor.spans[0]
        self.assertEqual(f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01", PARENT)
        self.assertEqual(span.context.trace_id, span.parent.trace_id)
        self.assertEqual(span.attributes["scfd.nats.num_delivered"], "2")

    def test_what_has_failed(self) -> None:
        self.act(TriggerEvent("timer", "t", {}), failure=Failure(PluginError("status 500")))
        for span in self.processor.spans:
            self.assertFalse(span.status.is_ok)
            self.assertIn("status 500", span.status.description)

    def test_reports_are_below_the_event(self) -> None:
        result = TaskResult("a", 2, "")
        self.act(TriggerEvent("timer", "t", {}), result)
        self.spans.tried(result, 0.5, "delivered")
        self.spans.tried(TaskResult("of an earlier run", 2, ""), 0.5, "unavailable")
        event, _, report, orphan = self.processor.spans
        self.assertEqual((report.parent, report.status.is_ok), (event.context, True))
        self.assertEqual((report.end_time - report.start_time) / 1e9, 0.5)
        self.assertEqual((orphan.parent, orphan.status.description), (None, "unavailable"))


class ChoiceTests(SynchronousTestCase):
    """Whether spans are made."""

    def made(self, **environ: str) -> Any:
        return build.spans(Config(), Identity("n", "v"), Context(Clock()), build.Outside(environ))

    def test_not_asked_for(self) -> None:
        self.assertEqual(self.made(), None)
        self.assertEqual(self.made(OTEL_EXPORTER_OTLP_ENDPOINT="http://c", OTEL_SDK_DISABLED="true"), None)

    def test_nothing_is_imported(self) -> None:
        code = "import scfd.node, scfd.build, sys; print([m for m in sys.modules if 'opentelemetry' in m])"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.stdout, "[]\n", ended.stderr)

    def test_not_installed(self) -> None:
        before = sys.modules["scfd.spans"]
        sys.modules["scfd.spans"] = None  # type: ignore[assignment]
        self.addCleanup(sys.modules.__setitem__, "scfd.spans", before)
        with capturedLogs() as logged:
            self.made(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318")
        (event,) = logged
        self.assertEqual(event["variable"], "OTEL_EXPORTER_OTLP_ENDPOINT")
