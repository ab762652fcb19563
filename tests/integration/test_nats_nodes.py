"""Real nodes that share a consumer: one is asked to stop; a plugin's process is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from scfd.deferreds import from_asyncio
from tests.integration.daemon import ROOT, Daemon, children, free_ports
from tests.integration.test_nats import NatsCase, pause

PLUGIN = Path(__file__).with_name("http_plugin.py")


class NodesCase(NatsCase):
    def start_node(
        self, name: str, adapter: dict[str, Any], takes: float = 0.3, drain: float = 20, **settings: Any
    ) -> Daemon:
        """Start a node, or start it again. :param takes: seconds for each message."""
        folder = self.folders.setdefault(name, Path(self.mktemp()).absolute())
        folder.mkdir(exist_ok=True)
        given = {"url": self.server.url, "stream": "S", "subject": "s.>", "consumer_name": "c", **settings}
        config = {
            "system": {"name": name, "state_dir": str(folder / "state")},
            "admin": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
            "adapter": adapter,
            "triggers": [{"name": "q", "type": "nats", "settings": given}],
            "plugin": {"events": str(folder / "events.jsonl"), "seconds": takes},
            "shutdown": {"drain": drain},
        }
        daemon = Daemon(json.dumps(config), folder)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    def setUp(self) -> Any:
        self.folders: dict[str, Path] = {}
        return super().setUp()

    def noted(self, name: str) -> list[Any]:
        file = self.folders[name] / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class NodesTests(NodesCase):
    async def killed_in_its_last_delivery(self, ack_wait: float) -> None:
        await self.add_stream("D", "dead.>")
        adapter = {"native": "patient", "path": str(ROOT / "tests/integration/plugins")}
        settings: dict[str, Any] = {"max_deliver": 1, "ack_wait": ack_wait, "dead_letter": "dead.q"}
        node = self.start_node("n", adapter, 60, **settings)
        await node.says("consuming")
        await self.publish("poison", headers={"Trace": "x"})
        await self.so(lambda: self.noted("n"), "the message begun")
        await node.stop(signal.SIGKILL)
        if ack_wait < 1:  # the server gives the message up while no node is there
            await pause(ack_wait + 0.3)
        node = self.start_node("n", adapter, **settings)
        await node.says("message 1 of stream S failed at its last delivery, number 1, and is on dead.q now: ")
        await pause(0.3)
        self.assertEqual((await from_asyncio(self.js.stream_info("D"))).state.messages, 1)
        letter = await from_asyncio(self.js.get_msg("D", 1))
        assert letter.headers is not None
        self.assertEqual((letter.data, letter.headers["Trace"]), (b'"poison"', "x"))
        self.assertRegex(letter.headers["Nats-Msg-Id"], r"^S\.c\.1\.[0-9]{19}$")
        self.assertEqual(letter.headers["Scfd-Deliveries"], "1")
        self.assertEqual(len(self.noted("n")), 1)
        self.assertEqual(await node.stop(), 0, node.output)

    async def test_a_last_delivery_that_ended_with_its_node(self) -> None:
        """Which is there again before the server gives the message up."""
        await self.killed_in_its_last_delivery(6.0)

    async def test_a_last_delivery_that_ended_with_the_only_node(self) -> None:
        """The server gives the message up while no node is there; a stream keeps its advisory."""
        await self.add_stream("ADVISORIES", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>")
        await self.killed_in_its_last_delivery(0.5)

    async def test_one_of_two_is_asked_to_stop(self) -> None:
        """What it has begun it ends; the other one gets all the rest, and nothing comes twice."""
        adapter = {"native": "patient", "path": str(ROOT / "tests/integration/plugins")}
        first, second = (self.start_node(name, adapter, concurrency=4) for name in ("first", "second"))
        await first.says("consuming")
        await second.says("consuming")
        await self.publish(*range(40))
        await self.so(lambda: len(self.noted("first")) >= 6, "the first one at work")
        self.assertEqual(await first.stop(), 0, first.output)
        ended_by_first = [body for what, body, _ in self.noted("first") if what == "ended"]
        begun_by_first = [body for what, body, _ in self.noted("first") if what == "begun"]
        self.assertEqual(sorted(ended_by_first), sorted(begun_by_first))
        await self.settled()
        ended = ended_by_first + [body for what, body, _ in self.noted("second") if what == "ended"]
        self.assertEqual(sorted(ended), list(range(40)))
        self.assertEqual(await second.stop(), 0, second.output)

    async def test_the_plugins_process_is_killed(self) -> None:
        """Nothing is fetched while it is away, and no delivery is used up."""
        [port] = free_ports(1)
        command = [sys.executable, "-u", str(PLUGIN), str(port), "events.jsonl"]
        node = self.start_node("n", {"http": {"url": f"http://127.0.0.1:{port}", "command": command}})
        await node.says("consuming")
        await self.publish("before")
        await self.settled()
        [plugin] = [pid for pid in children(node.pid) if not children(pid)]
        os.kill(plugin, signal.SIGKILL)
        await node.says("its process ended: killed")
        await pause(0.1)  # until the server has heard that nothing is wanted
        await self.publish(*range(20))
        await pause(0.2)
        self.assertEqual((await self.consumer()).num_ack_pending, 0)
        await self.settled()
        events = self.noted("n")
        self.assertEqual([event["payload"] for event in events], ["before", *range(20)])
        self.assertEqual({event["metadata"]["num_delivered"] for event in events}, {"1"})
        self.assertEqual(await node.stop(), 0, node.output)
