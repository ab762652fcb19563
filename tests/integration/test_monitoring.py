"""The alert rules and the dashboard of deploy/ ask for what a real node says of itself."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import treq
import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until

PLUGIN = Path(__file__).with_name("http_plugin.py")
FIGURES = ROOT / "tests/alerts_test.yaml"
ALERTS = ROOT / "deploy/alerts.yaml"
CONFIG = """
system: {{name: fn, version: v1, node_id: node-1, state_dir: state}}
heartbeat: {{interval: 0.5}}
gateway: {{listen: "127.0.0.1:{gateway}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
adapter:
  http:
    url: http://127.0.0.1:{plugin}
    command: ["{python}", "-u", "{script}", "{plugin}", events.jsonl]
triggers:
  - {{name: every-second, type: timer, settings: {{cron: "* * * * * * *"}}}}
  - name: queue
    type: nats
    settings: {{url: "nats://127.0.0.1:{nats}", stream: S, subject: s.>, consumer_name: c}}
dev:
  control_plane: {{listen: "127.0.0.1:{control_plane}"}}
  nats: {{port: {nats}, streams: [{{name: S, subjects: [s.>]}}]}}
"""
SCRAPES = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: ["{alerts}"]
scrape_configs:
  - {{job_name: scfd, static_configs: [{{targets: ["127.0.0.1:{admin}"]}}]}}
"""
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
NAME = re.compile(r"\b((?:scfd|process)_\w+)(?:\{(.*?)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
GROUPED = re.compile(r"\bby \((.*?)\)")
#: Labels that Prometheus itself adds to whatever it scrapes.
ADDED = {"instance", "job"}
_EXEC = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def panels() -> Iterator[tuple[str, str]]:
    """Title and expression; with the variables of the dashboard filled in, for all of each."""
    for panel in json.loads((ROOT / "deploy/grafana.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$\w+", ".*", expr)


def labels_in_docs() -> dict[str, set[str]]:
    """Labels by the name of the metric, as docs/operating.rst has them."""
    text = (ROOT / "docs/operating.rst").read_text()
    named = re.findall(r"(?m)^``(scfd_\w+)(?:\{([\w, ]+)\})?``$", text)
    return {name: set(labels.split(", ")) - {""} for name, labels in named}


def names_in(exposition: str) -> Iterator[tuple[str, set[str]]]:
    """Names of series that a node shows, and the labels they have; those without a sample yet have none."""
    for family in text_string_to_metric_families(exposition):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        for suffix in suffixes:
            yield family.name + suffix, set()
        for sample in family.samples:
            yield sample.name, set(sample.labels)


class MonitoringTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        names = ("gateway", "admin", "plugin", "control_plane", "nats", "prometheus")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.daemon = Daemon(CONFIG.format(python=sys.executable, script=PLUGIN, **self.ports), self.folder)

    def test_names_and_labels_exist(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.compare())

    async def compare(self) -> None:
        self.daemon.start()
        self.addCleanup(self.daemon.clean_up)
        await until(self.handled, "an event")
        told = labels_in_docs()
        known: dict[str, set[str]] = {}
        for name, labels in names_in(await self.exposition()):
            docs = told.get(re.sub("_(bucket|sum|count)$", "", name), labels)
            self.assertLessEqual(labels, docs | {"le"}, name)
            known[name] = docs | {"le"}
        asked = [*panels(), *((rule["alert"], rule["expr"]) for rule in rules())]
        self.assertGreater(len(asked), 40)
        for title, expr in asked:
            found = NAME.findall(expr)
            self.assertTrue(found, title)
            for name, selector in found:
                self.assertIn(name, known, f"{title}: {name}")
                self.assertLessEqual(set(LABEL.findall(selector)), known[name] | ADDED, f"{title}: {name}")
            grouped = {label for some in GROUPED.findall(expr) for label in some.split(", ")}
            everything = set().union(*(known[name] for name, _ in found))
            self.assertLessEqual(grouped, everything | ADDED, title)
        self.assertEqual(await self.daemon.stop(), 0)

    def test_in_prometheus(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.scrape())

    if PROMETHEUS is None:
        test_in_prometheus.skip = "Prometheus is not installed (Debian: prometheus)"  # type: ignore[attr-defined]

    async def scrape(self) -> None:
        """Prometheus itself scrapes the node, evaluates the rules, and answers what the panels ask."""
        self.daemon.start()
        self.addCleanup(self.daemon.clean_up)
        await until(self.handled, "an event")
        (self.folder / "prometheus.yml").write_text(SCRAPES.format(alerts=ALERTS, **self.ports))
        self.url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1"
        prometheus = Daemon("", self.folder / "prometheus")
        prometheus.start_python(
            "-c",
            _EXEC,
            str(PROMETHEUS),
            f"--config.file={self.folder}/prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        )
        self.addCleanup(prometheus.clean_up)
        await until(self.evaluated, "rules that were evaluated")
        for title, expr in panels():
            response = await treq.get(f"{self.url}/query", params={"query": expr}, persistent=False)
            asked = await response.json()
            self.assertEqual(asked["status"], "success", f"{title}: {asked}")
        ready = await get_json(f"{self.url}/query?query=scfd_ready")
        self.assertEqual(ready["data"]["result"][0]["value"][1], "1")

    async def evaluated(self) -> bool:
        (group,) = (await get_json(f"{self.url}/rules"))["data"]["groups"]
        health = {rule["health"] for rule in group["rules"]}
        self.assertNotIn("err", health, group)
        scraped = await get_json(f"{self.url}/query?query=scfd_ready")
        return health == {"ok"} and bool(scraped["data"]["result"])

    def test_each_alert_fires(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.try_figures())

    async def try_figures(self) -> None:
        """tests/alerts_test.yaml has made-up figures: for each rule those at which it fires."""
        named = re.findall('alertname="(.*?)"', FIGURES.read_text())
        self.assertEqual(set(named), {rule["alert"] for rule in rules()})
        if PROMTOOL is not None:
            out, err, status = await getProcessOutputAndValue(PROMTOOL, ["test", "rules", str(FIGURES)])
            self.assertEqual(status, 0, (out + err).decode())

    async def exposition(self) -> str:
        response = await treq.get(f"http://127.0.0.1:{self.ports['admin']}/metrics", persistent=False)
        return str(await response.text())

    async def handled(self) -> bool:
        return 'scfd_events_total{outcome="succeeded",trigger="every-second"}' in await self.exposition()
