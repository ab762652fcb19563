"""The commands of an operator, from the command line through the node to a plugin's process and back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until
from tests.integration.nats_traffic import connect

PLUGIN = Path(__file__).with_name("http_plugin.py")
TOKEN = "an-operators-sécret-€"

CONFIG = """
system: {{name: fn, version: v1, node_id: node-1, state_dir: state}}
heartbeat: {{interval: 0.5}}
gateway: {{listen: "127.0.0.1:{gateway}"}}
admin: {{listen: "127.0.0.1:{admin}", token: {token}}}
adapter:
  http:
    url: http://127.0.0.1:{plugin}
    command: ["{python}", "-u", "{script}", "{plugin}", events.jsonl]
triggers:
  - {{name: every-second, type: timer, settings: {{cron: "* * * * * * *"}}}}
  - {{name: nightly, type: timer, settings: {{cron: "0 0 3 * * * *"}}}}
  - name: queue
    type: nats
    settings: {{url: "nats://127.0.0.1:{nats}", stream: S, subject: s.>, consumer_name: c, max_deliver: 1,
      dead_letter: dead.queue}}
dev:
  control_plane: {{listen: "127.0.0.1:{control_plane}", tasks: tasks.yaml}}
  nats: {{port: {nats}, streams: [{{name: S, subjects: [s.>]}}, {{name: DEAD, subjects: [dead.>]}}]}}
"""


class CommandTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "tasks.yaml").write_text("- {task_id: t1}\n- {task_id: t2}\n")
        names = ("gateway", "admin", "plugin", "control_plane", "nats")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        config = CONFIG.format(python=sys.executable, script=PLUGIN, token=TOKEN, **self.ports)
        self.daemon = Daemon(config, self.folder)
        self.addCleanup(self.daemon.clean_up)

    async def scfd(self, *arguments: str, expected: int = 0) -> str:
        """Run the command; its output."""
        out, err, status = await getProcessOutputAndValue(
            sys.executable,
            ["-c", _MAIN, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            path=str(self.folder),
        )
        assert status == expected, f"scfd {arguments}: status {status}: {out.decode()}{err.decode()}"
        return str((err if status and not out else out).decode())

    async def asked(self, *arguments: str, expected: int = 0) -> Any:
        return json.loads(await self.scfd(*arguments, "--json", expected=expected))

    async def has_tasks(self) -> bool:
        found = await get_json(f"http://127.0.0.1:{self.ports['admin']}/live")
        return bool(found) and len(await self.asked("tasks")) == 2

    def test_what_has_failed_is_done_again(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.mend())

    async def mend(self) -> None:
        """A message that failed for good, and a result that the control plane refused."""
        self.daemon.start()
        await self.daemon.says("consuming s")
        broken = self.folder / "broken"
        broken.touch()
        await Deferred.fromFuture(asyncio.ensure_future(self.publish("s.x", b'{"price": 7}')))
        await until(self.letters, "a dead letter")
        (letter,) = await self.letters()
        self.assertEqual((letter["trigger"], letter["subject"]), ("queue", "s.x"))
        sequence = str(letter["sequence"])
        self.assertIn("Scfd-Reason", await self.scfd("dead-letters", "queue", "--show", sequence))
        self.assertIn("failed", await self.scfd("dead-letters", "queue", "--replay", sequence, expected=1))
        self.assertEqual(len(await self.letters()), 1)
        (failed,) = await self.asked("events", "--failed", "--trigger", "queue", "--limit", "1")
        broken.unlink()
        self.assertIn("succeeded", await self.scfd("dead-letters", "queue", "--replay", "all"))
        self.assertEqual(await self.letters(), [])
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        *_, event = (event for event in map(json.loads, lines) if event["name"] == "queue")
        self.assertEqual((event["payload"], event["metadata"]["subject"]), ({"price": 7}, "s.x"))
        replayed = await self.asked("event", failed["id"], "--replay")
        self.assertEqual((replayed["outcome"], replayed["payload"]), ("succeeded", {"price": 7}))
        self.assertIn(
            "no dead letter", await self.scfd("dead-letters", "queue", "--discard", "99", expected=1)
        )
        self.assertIn("no dead letters", await self.scfd("dead-letters", "nightly", expected=1))

        await self.refuse(["t1"])
        await until(self.refused, "a result that is refused")
        await self.refuse([])
        before = (await self.state())["counts"]["by_task"].get("t1", 0)
        count = len(await self.refused())
        await self.scfd("pause", "every-second")
        await self.scfd("reports", "--retry", "all")

        async def delivered() -> bool:
            return bool((await self.state())["counts"]["by_task"].get("t1", 0) >= before + count)

        await until(delivered, "the results that were refused")
        self.assertEqual(await self.asked("reports"), [])
        self.assertEqual(await self.daemon.stop(), 0)
        self.assertNotIn("Traceback", self.daemon.output)

    async def publish(self, subject: str, data: bytes) -> None:
        client = await connect(f"nats://127.0.0.1:{self.ports['nats']}")
        await client.jetstream().publish(subject, data)
        await client.close()

    async def letters(self) -> Any:
        return await self.asked("dead-letters")

    async def state(self) -> Any:
        return await get_json(f"http://127.0.0.1:{self.ports['control_plane']}/state")

    async def refuse(self, tasks: list[str]) -> None:
        url = f"http://127.0.0.1:{self.ports['control_plane']}/faults"
        response = await treq.post(url, json={"refuse": tasks}, timeout=5, persistent=False)
        self.assertEqual(response.code, 200)

    async def refused(self) -> Any:
        return [one for one in await self.asked("reports") if one["state"] == "put aside"]

    def test_from_status_to_drain(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.operate())

    async def operate(self) -> None:
        self.assertIn("is it running?", await self.scfd("status", expected=3))
        self.daemon.start()
        await self.daemon.says(" ready")
        await until(self.has_tasks, "the tasks")
        self.assertTrue((await self.asked("status"))["ready"])
        self.assertIn("running, ready", await self.scfd("status"))

        fired = await self.asked("fire", "nightly", "--task", "t2")
        self.assertEqual((fired["outcome"], fired["statuses"]), ("succeeded", {"2": 1}))
        lines = (self.folder / "events.jsonl").read_text().splitlines()
        seen = [event for event in map(json.loads, lines) if event["name"] == "nightly"]
        self.assertEqual([task["task_id"] for task in seen[0]["payload"]["tasks"]], ["t2"])
        self.assertEqual(seen[0]["metadata"]["traceparent"][36:52], fired["id"])
        self.assertIn("t2    2", await self.scfd("event", fired["id"]))
        again = await self.asked("event", fired["id"], "--replay")
        self.assertEqual(again["metadata"]["replay_of"], fired["id"])
        self.assertIn("no trigger 'nope'", await self.scfd("fire", "nope", expected=1))
        self.assertIn("expected JSON", await self.scfd("fire", "nightly", "--payload", "{x", expected=1))

        await self.scfd("pause", "every-second")
        by_name = {one["name"]: one for one in await self.asked("triggers")}
        self.assertTrue(by_name["every-second"]["paused"])
        self.assertIn("paused", await self.scfd("triggers"))
        self.assertIn("scfd resume every-second", await self.scfd("status"))
        await self.scfd("resume", "every-second")
        self.assertTrue(await self.asked("events", "--trigger", "every-second", "--limit", "3"))
        self.assertEqual(await self.asked("events", "--failed"), [])

        self.assertIn("restarted", await self.scfd("restart"))
        await self.daemon.says(r"(?s)is ready.*is ready")
        self.assertEqual((await self.asked("fire", "nightly"))["outcome"], "succeeded")

        url = f"http://127.0.0.1:{self.ports['admin']}"
        refused = await self.scfd("status", "--url", url, expected=3)
        self.assertIn("admin.token", refused)
        await self.scfd("status", "--url", url, "--token", TOKEN)
        self.assertIn("events under way", await self.scfd("drain"))
        self.assertEqual(await self.daemon.end(), 0)
        self.assertNotIn(TOKEN, self.daemon.output)
        self.assertNotIn("Traceback", self.daemon.output)


_MAIN = "import sys; from scfd.cli.main import main; sys.exit(main())"
