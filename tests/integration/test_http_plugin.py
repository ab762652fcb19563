"""A plugin in a process of its own: started by the node, given events, forwarded to, gone with the node."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.daemon import Daemon, children, free_ports, get_json, is_alive, reactor, until

PLUGIN = Path(__file__).with_name("http_plugin.py")

CONFIG = """
system: {{name: collector, version: v1.2.3, node_id: node-http, state_dir: state, storage_url: "http://store:1"}}
heartbeat: {{interval: 1}}
gateway: {{listen: "127.0.0.1:{gateway}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
adapter:
  http:
    url: http://127.0.0.1:{plugin}
    heartbeat_extra: {{capabilities: [kline]}}
    command: ["{python}", "-u", "{script}", "{plugin}", events.jsonl]
triggers:
  - {{name: every-second, type: timer, settings: {{cron: "* * * * * * *"}}}}
  - name: queue
    type: nats
    settings: {{url: "nats://127.0.0.1:{nats}", stream: S, subject: s.>, consumer_name: c}}
dev:
  control_plane: {{listen: "127.0.0.1:{control_plane}", tasks: tasks.yaml}}
  nats: {{port: {nats}, streams: [{{name: S, subjects: [s.>]}}]}}
"""

TASKS = """
- {task_id: a, task_params: {intervals: [1m]}, symbol: BTC-USDT}
- {task_id: b, task_params: {}, invalid: 1}
"""


class HttpPluginTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "tasks.yaml").write_text(TASKS)
        names = ("gateway", "admin", "plugin", "nats", "control_plane")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))

    def start(self, here: bool = True) -> Daemon:
        config = CONFIG.format(python=sys.executable, script=PLUGIN, **self.ports)
        if not here:
            config = re.sub(" +command: .*", "", config)
            config = config.replace("consumer_name: c}", "consumer_name: c, max_deliver: 1}")
        daemon = Daemon(config, self.folder, {"NATS_URL": ""})
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def events(self, kind: str) -> list[Any]:
        file = self.folder / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["type"] == kind]

    async def timer_event_with_tasks(self) -> Any:
        return next((event for event in self.events("timer") if event["payload"]["tasks"]), None)

    def test_events_results_and_forwarding(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start()
            await daemon.says("plugin is up")
            event = await until(self.timer_event_with_tasks, "a timer event with tasks")
            self.assertEqual(event["name"], "every-second")
            metadata = event["metadata"]
            self.assertEqual(metadata["nodeID"], "node-http")
            self.assertEqual(metadata["version"], "v1.2.3")
            self.assertEqual(metadata["granularity"], "second")
            self.assertEqual(metadata["storage_server_url"], "http://store:1")
            self.assertRegex(metadata["fire_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertEqual([task["task_id"] for task in event["payload"]["tasks"]], ["a", "b"])
            self.assertEqual(event["payload"]["tasks"][0]["symbol"], "BTC-USDT")
            jobs = event["payload"]["jobs"]
            self.assertEqual([(job["task"]["task_id"], job["interval"]) for job in jobs], [("a", "1m")])

            async def reported() -> bool:
                results = (await get_json(self.url("control_plane", "/state")))["results"]
                return {result["task_id"] for result in results} == {"a", "b"}

            await until(reported, "results of both tasks")
            state = await get_json(self.url("control_plane", "/state"))
            self.assertEqual(state["nodes"][0]["extra"]["capabilities"], ["kline"])
            await self.forwards()
            self.assertEqual(await daemon.stop(), 0)
            self.assertNotIn("Traceback", daemon.output)

        return Deferred.fromCoroutine(check())

    async def forwards(self) -> None:
        """What the gateway does not answer itself reaches the plugin as it was sent."""
        response = await treq.get(self.url("gateway", "/x/%2e%2E//y?a=1&a=2&b"), persistent=False)
        seen = await response.json()
        self.assertEqual(seen["path"], "/x/%2e%2E//y?a=1&a=2&b")
        headers = {name.lower(): value for name, value in seen["headers"]}
        self.assertEqual(headers["gateway-tag"], "forward")
        self.assertEqual(headers["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(headers["x-forwarded-proto"], "http")
        self.assertEqual(response.headers.getRawHeaders("set-cookie"), ["a=1", "b=2"])
        posted = await treq.post(self.url("gateway", "/in"), data=b"body", persistent=False)
        self.assertEqual(await posted.json(), {"method": "POST", "path": "/in", "body": "body"})

    def test_messages(self) -> Deferred[None]:
        """Messages become events, whatever their bytes are."""

        async def check() -> None:
            daemon = self.start()
            await daemon.says("queue: consuming")
            await daemon.says("1 task received: a")
            await publish(self.ports["nats"], [b'{"price": 1}', b"plain", b"\xff\x00"])

            async def three() -> Any:
                return len(self.events("nats")) >= 3

            await until(three, "three events")
            events = self.events("nats")
            self.assertEqual([event["payload"] for event in events], [{"price": 1}, "plain", "/wA="])
            self.assertEqual(events[2]["metadata"]["payload_encoding"], "base64")
            self.assertEqual(events[0]["metadata"]["stream_sequence"], "1")
            self.assertEqual(events[0]["metadata"]["header.Trace"], "t-1")
            self.assertEqual([task["task_id"] for task in events[0]["tasks"]], ["a", "b"])
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def test_a_plugin_that_is_away_costs_no_deliveries(self) -> Deferred[None]:
        """
        Somebody else runs it; it is killed and comes back 3 s later, with messages coming all the time. None
        may be delivered twice, so each that is refused would be lost.
        """

        async def check() -> None:
            plugin = self.run_plugin()
            daemon = self.start(here=False)
            await daemon.says("queue: consuming")
            for number in range(100):
                if number == 20:
                    plugin.kill()
                    plugin.wait()
                elif number == 80:
                    plugin = self.run_plugin()
                await publish(self.ports["nats"], [b"%d" % number])
                await deferLater(reactor, 0.05)
            await daemon.says("the plugin can take no events: it can't be reached")

            async def all_of_them() -> bool:
                return {event["payload"] for event in self.events("nats")} == set(range(100))

            await until(all_of_them, "all messages")
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())

    def run_plugin(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-u", str(PLUGIN), str(self.ports["plugin"]), "events.jsonl"]
        plugin = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        self.addCleanup(plugin.wait)
        self.addCleanup(plugin.kill)
        return plugin

    def test_nothing_survives_a_killed_node(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start()
            await daemon.says("ready")
            below = children(daemon.pid)
            self.assertGreaterEqual(len(below), 4)  # two guards, the plugin, the nats-server
            os.kill(daemon.pid, signal.SIGKILL)
            await daemon.end()

            async def gone() -> bool:
                return not any(is_alive(pid) for pid in below)

            await until(gone, "the plugin and the nats-server gone")

        return Deferred.fromCoroutine(check())

    def test_a_plugin_that_dies_is_started_again(self) -> Deferred[None]:
        async def check() -> None:
            daemon = self.start()
            await until(self.timer_event_with_tasks, "a timer event")
            plugin = [pid for pid in children(daemon.pid) if b"http_plugin.py" in command_line(pid)][-1]
            os.kill(plugin, signal.SIGKILL)
            await daemon.says("the plugin is down: its process ended")
            before = len(self.events("timer"))

            async def more() -> bool:
                return len(self.events("timer")) > before

            await until(more, "events after the restart")
            self.assertEqual(await daemon.stop(), 0)

        return Deferred.fromCoroutine(check())


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def publish(port: int, messages: list[bytes]) -> None:
    """Publish to subject ``s.x`` of a NATS server on this machine."""
    import nats  # it would be imported by every test otherwise

    from scfd.deferreds import from_asyncio

    async def work() -> None:
        connection = await nats.connect(f"nats://127.0.0.1:{port}")
        for message in messages:
            await connection.jetstream().publish("s.x", message, headers={"Trace": "t-1"})
        await connection.close()

    await from_asyncio(work())
