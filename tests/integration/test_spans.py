"""A node exports its spans to a collector, which is a server of OTLP here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.integration.daemon import ROOT, Daemon, free_ports, reactor, until

CONFIG = """
system: {{name: minimal, version: v1, node_id: n, state_dir: state}}
heartbeat: {{server_url: "http://127.0.0.1:{2}", interval: 0.5}}
gateway: {{listen: "127.0.0.1:{0}"}}
admin: {{listen: "127.0.0.1:{1}"}}
adapter: {{native: minimal, path: {root}/examples/minimal}}
plugin: {{currency: EUR}}
triggers: [{{name: every-second, type: timer, settings: {{cron: "* * * * * * *"}}}}]
dev: {{control_plane: {{listen: "127.0.0.1:{2}", tasks: {root}/examples/minimal/tasks.yaml}}}}
"""


class Collector(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Any] = []

    def render_POST(self, request: Any) -> bytes:
        sent = ExportTraceServiceRequest.FromString(request.content.read())
        for resource in sent.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return b""


class SpansTests(TestCase):
    timeout = 60

    def test_event_call_and_report(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.collect())

    async def collect(self) -> None:
        collector = Collector()
        port = reactor.listenTCP(0, Site(collector), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port.getHost().port}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        config = CONFIG.format(*free_ports(3), root=ROOT)
        daemon = Daemon(config, Path(self.mktemp()).absolute(), environ).start()
        self.addCleanup(daemon.clean_up)

        async def reported() -> Any:
            return [span for span in collector.spans if span.name == "report" and span.parent_span_id]

        (report, *_) = await until(reported, "the span of a report")
        self.assertEqual(await daemon.stop(), 0)
        (event,) = [span for span in collector.spans if span.span_id == report.parent_span_id]
        self.assertEqual((event.name, event.trace_id), ("event every-second", report.trace_id))
        (call,) = [
            span
            for span in collector.spans
            if span.parent_span_id == event.span_id and span.name == "plugin call"
        ]
        self.assertLessEqual(event.start_time_unix_nano, call.start_time_unix_nano + 1_000_000)
        self.assertNotIn("opentelemetry", daemon.output)
