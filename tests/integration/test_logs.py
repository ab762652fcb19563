"""The log of real nodes: JSON of every example, secrets, CLS, levels, the lines of a plugin's process."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.cls_endpoint import Endpoint, respond
from tests.integration.daemon import ROOT, Daemon, free_ports, reactor
from tests.integration.node import asynchronous

SECRETS = {"token": "t0ken-of-admin", "probe_token": "t0ken-of-probes", "secret_key": "s3cret-of-moox"}
_ALWAYS = {"time", "level", "namespace", "message", "version", "plugin"}
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

PLUGIN = r"""
import sys, time
print('{"severity": "WARNING", "message": "from json", "symbol": "BTC"}')
print("\x1b[31mERROR\x1b[0m coloured")
print("2026-01-01 12:00:00,123 - my.name - WARNING - from logging")
sys.stdout.flush()
try:
    raise ValueError("no price")
except ValueError:
    import traceback
    traceback.print_exc()
sys.stderr.flush()
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.send_response(500); self.end_headers()
    def log_message(self, *args):
        pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


UNRESOLVED = """
import socket, time
usual = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host == "never.invalid":
        time.sleep(60)
    return usual(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def records(output: str) -> list[dict[str, Any]]:
    """Every line, parsed."""
    return [json.loads(line) for line in output.splitlines()]


def with_secrets(config: dict[str, Any], ports: list[int], **log: Any) -> str:
    """A config with ports of its own, secrets, and a log in JSON."""
    nats = config.pop("dev", {}).get("nats")
    if nats:  # its plugin waits for it
        config["dev"] = {"nats": nats}
    config["gateway"] = {"listen": f"127.0.0.1:{ports[0]}", "probe_token": SECRETS["probe_token"]}
    config["admin"] = {"listen": f"127.0.0.1:{ports[1]}", "token": SECRETS["token"]}
    auth = {"access_key": "me", "secret_key": SECRETS["secret_key"]}
    config["heartbeat"] = {"server_url": "http://127.0.0.1:9", "auth": auth, "protocol": 3}
    config["system"] = {**config.get("system", {}), "version": "v1", "node_id": "n1", "state_dir": "state"}
    config["log"] = {"format": "json", **log}
    return yaml.safe_dump(config)


class LogsTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def start(self, name: str, text: str, environ: Mapping[str, str] | None = None) -> Daemon:
        daemon = Daemon(text, self.folder / name, environ).start()
        self.addCleanup(daemon.stop)
        return daemon

    @asynchronous
    async def test_json_of_every_example(self) -> None:
        """Side by side. Fields are there, lines parse, and no secret is in any of them."""
        names = ["demo", *(path.parent.name for path in ROOT.glob("examples/*/config.yaml"))]
        await gatherResults([Deferred.fromCoroutine(self.check_example(name)) for name in names])

    async def check_example(self, name: str) -> None:
        path = ROOT / ("etc/config.yaml" if name == "demo" else f"examples/{name}/config.yaml")
        config = yaml.safe_load(path.read_text())
        shutil.copytree(ROOT if name == "demo" else path.parent, self.folder / name, ignore=_only_code)
        ports = free_ports(4)
        text = with_secrets(config, ports).replace(":9001", f":{ports[2]}").replace("14222", str(ports[3]))
        for code in (self.folder / name).glob("*.[pj][ys]"):  # where an HTTP plugin listens
            code.write_text(code.read_text().replace("9001", str(ports[2])))
        daemon = self.start(name, text)
        await daemon.says('"message":"ready"')
        await daemon.stop()
        found = records(daemon.output)
        for one in found:
            self.assertLessEqual(_ALWAYS - {"plugin"}, one.keys(), one)
            self.assertRegex(one["time"], f"^{_TIME}$")
            self.assertEqual((one["version"], one["node"]), ("v1", "n1"))
        self.assertGreater(len(found), 3)
        for secret in SECRETS.values():
            self.assertNotIn(secret, daemon.output)

    def an_http_node(self, **log: Any) -> str:
        ports = free_ports(3)
        command = ["python3", "-u", "plugin.py", str(ports[2])]
        http = {"url": f"http://127.0.0.1:{ports[2]}", "command": command}
        timer = {"name": "tick", "type": "timer", "settings": {"cron": "* * * * * * *"}}
        self.admin = ports[1]
        return with_secrets({"adapter": {"http": http}, "triggers": [timer]}, ports, **log)

    @asynchronous
    async def test_lines_of_a_plugin_and_failed_events_also_in_cls(self) -> None:
        endpoint = Endpoint()
        self.addCleanup(deferToThread, endpoint.close)
        cls = {"topic_id": "topic", "host": endpoint.url, "secret_id": "id", "secret_key": "${CLS_KEY}"}
        (self.folder / "http").mkdir(parents=True)
        (self.folder / "http/plugin.py").write_text(PLUGIN)
        daemon = self.start("http", self.an_http_node(cls=cls), {"CLS_KEY": "key"})
        await daemon.says("HTTP status 500")
        await daemon.stop()
        found = {one["message"]: one for one in records(daemon.output)}
        self.assertEqual(found["from json"]["level"], "warn")
        self.assertEqual(found["from json"]["fields"], {"symbol": "BTC"})
        self.assertEqual(found["ERROR coloured"]["level"], "error")
        self.assertEqual(found["2026-01-01 12:00:00,123 - my.name - WARNING - from logging"]["level"], "warn")
        self.assertIn("plugin.py", found["ValueError: no price"]["error"]["traceback"])
        failed = next(one for text, one in found.items() if text.startswith("tick: the event failed"))
        self.assertEqual(failed["trigger"], "tick")
        self.assertRegex(failed["event"] + failed["trace"], "^[0-9a-f]{48}$")
        self.assertIn("500", failed["error"]["text"])
        self.assertEqual(endpoint.wrong, [])
        entries = [fields for _, fields in endpoint.taken]
        said = [re.sub(r"\(\d+ more.*", "", one["message"]) for one in records(daemon.output)]
        self.assertEqual([re.sub(r"\(\d+ more.*", "", one["Msg"]) for one in entries], said)
        self.assertEqual({one.get("nodeID") for one in entries[3:]}, {"n1"})

    @asynchronous
    async def test_the_end_of_a_node_whose_cls_is_dead(self) -> None:
        """Nobody listens, a server that never responds, a name that is never resolved, HTTP status 403."""
        frozen = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(frozen.close)
        endpoint = Endpoint()
        self.addCleanup(deferToThread, endpoint.close)
        endpoint.faults = [partial(respond, status=403, body=b'{"errorcode": "AuthFailure"}')] * 1000
        hosts = {
            "http://127.0.0.1:1": "ConnectionRefusedError",
            f"http://127.0.0.1:{frozen.getsockname()[1]}": "no upload has ended",
            "http://never.invalid": "no upload has ended",
            endpoint.url: "HTTP status 403",
        }
        daemons = []
        for number, host in enumerate(hosts):
            cls = {"topic_id": "topic", "host": host, "secret_id": "id", "secret_key": "key"}
            folder = self.folder / str(number)
            folder.mkdir(parents=True)
            (folder / "sitecustomize.py").write_text(UNRESOLVED)
            (folder / "plugin.py").write_text(PLUGIN)
            environ = {"PYTHONPATH": f"{folder}:{ROOT}"}
            daemons.append(self.start(str(number), self.an_http_node(cls=cls), environ))
        for daemon in daemons:
            await daemon.says('"message":"ready"')
        await deferLater(reactor, 2.5)  # longer than entries wait for others
        began = reactor.seconds()
        await gatherResults([Deferred.fromCoroutine(daemon.stop()) for daemon in daemons])
        self.assertLess(reactor.seconds() - began, 10)
        for daemon, reason in zip(daemons, hosts.values(), strict=True):
            *_, last = (one for one in records(daemon.output) if one["message"].startswith("log.cls: "))
            self.assertRegex(last["message"], f"[0-9]+ lines of the log did not get to CLS: .*{reason}")
            self.assertEqual(daemon.status, 0)


def _only_code(folder: str, names: list[str]) -> set[str]:
    """Of the whole project, for the demo: what its config names."""
    if Path(folder) != ROOT:
        return {"__pycache__"}
    return set(names) - {"etc", "examples", "twisted"}
