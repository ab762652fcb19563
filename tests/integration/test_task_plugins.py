"""Task plugins in a real node, native and behind HTTP: their results at the control plane."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import nats
import treq

from scfd.deferreds import from_asyncio
from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until
from tests.integration.node import NodeTestCase, asynchronous
from tests.integration.scripted import Say, task, tasks_response

HERE = Path(__file__).parent
FOUR = {"good": {}, "raises": {"do": "raise"}, "hangs": {"do": "hang"}, "dict": {"do": "dict"}}
EVERY_SECOND = {"cron": "* * * * * * *"}


class TaskPluginsTestCase(NodeTestCase):
    def start_node(self, adapter: Any = None, trigger: Any = None, **more: Any) -> Daemon:
        config = {
            "system": {"name": "n", "node_id": "node-abc", "state_dir": str(self.folder / "state")},
            "heartbeat": {"interval": 0.3, "server_url": f"http://127.0.0.1:{self.server.port}"},
            "gateway": {"listen": f"127.0.0.1:{self.gateway}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "adapter": {"native": "worker", "path": str(HERE / "plugins"), **(adapter or {})},
            "triggers": [trigger or {"name": "t", "type": "timer", "settings": EVERY_SECOND}],
            "plugin": {"done": str(self.folder / "done")},
            **more,
        }
        daemon = Daemon(json.dumps(config), self.folder)
        self.addCleanup(daemon.clean_up)
        return daemon.start()

    def http(self) -> Any:
        (port,) = free_ports(1)
        command = [sys.executable, "-u", str(HERE / "task_plugin.py"), str(port)]
        http = {"url": f"http://127.0.0.1:{port}", "command": command, "mode": "task"}
        return {"native": "", "path": [], "http": http}

    def give(self, tasks: dict[str, Any]) -> None:
        answer = tasks_response(
            [task(name, task_params=json.dumps(params)) for name, params in tasks.items()]
        )
        self.server.on_heartbeat = lambda heard: answer

    def reports(self) -> dict[str, tuple[int, str]]:
        reports = [heard.json for heard in self.server.reports]
        return {report["id"]: (report["status"], report["result"]) for report in reports}


class FourTasksTests(TaskPluginsTestCase):
    """One raises, one hangs, one returns a dict: four results, and the one that hangs keeps none waiting."""

    async def four(self, adapter: Any) -> tuple[dict[str, tuple[int, str]], str]:
        self.give(FOUR)
        daemon = self.start_node({**adapter, "task_timeout": 1.5})
        await self.reported(lambda reports: len({report["id"] for report in reports}) == 4)
        first = [heard.json["id"] for heard in self.server.reports][:4]
        self.assertEqual(first[3], "hangs")
        self.assertEqual(await daemon.stop(), 0)
        return self.reports(), daemon.output

    @asynchronous
    async def test_native(self) -> None:
        results, output = await self.four({})
        self.assertEqual(
            results,
            {
                "good": (2, "done"),
                "raises": (4, "KeyError: 'symbol'"),
                "hangs": (4, "no response after 1.5 s"),
                "dict": (2, '{"rows":3}'),
            },
        )
        self.assertEqual(output.count("Traceback"), 1, output)

    @asynchronous
    async def test_http(self) -> None:
        results, output = await self.four(self.http())
        self.assertEqual(
            results,
            {
                "good": (2, "node-abc"),
                "raises": (4, 'POST /on-task: HTTP status 500: {"error": "KeyError: \'symbol\'"}'),
                "hangs": (4, "POST /on-task: no response after 1.5 s"),
                "dict": (2, '{"rows":3}'),
            },
        )
        self.assertNotIn("Traceback", output)


class ManyTasksTests(TaskPluginsTestCase):
    def give_many(self, count: int) -> None:
        self.give({f"t{number}": {"seconds": 0.1} for number in range(count)})

    def done(self) -> list[str]:
        file = self.folder / "done"
        return file.read_text().splitlines() if file.exists() else []

    async def done_some(self, count: int) -> None:
        async def some() -> bool:
            return len(self.done()) >= count

        await until(some, f"{count} tasks done")

    @asynchronous
    async def test_killed_in_the_middle(self) -> None:
        """What was done before the kill is reported by the next run."""
        self.give_many(1000)
        self.server.on_report = lambda heard: Say(b"", 503)
        daemon = self.start_node()
        await self.done_some(55)
        await daemon.stop(signal.SIGKILL)
        done = self.done()
        self.server.heard.clear()
        self.server.on_heartbeat = lambda heard: Say({"code": 200, "data": []})
        self.server.on_report = lambda heard: Say()
        daemon = self.start_node()
        # The last ones may have been done without being on disk yet.
        known = set(done[:-10])
        await self.reported(lambda reports: {report["id"] for report in reports} >= known)
        self.assertEqual(await daemon.stop(), 0)

    @asynchronous
    async def test_stopped_in_the_middle(self) -> None:
        """Those that run may end; those that were not begun are nobody's failure."""
        self.give_many(1000)
        daemon = self.start_node({"task_concurrency": 20})
        await self.done_some(50)
        self.assertEqual(await daemon.stop(), 0)
        done = self.done()
        self.assertEqual(self.reports(), {name: (2, "done") for name in done})
        left = 1000 - len(done)
        self.assertIn(f"{left} tasks were not begun, since the node is stopping", daemon.output)


class MessagesTests(TaskPluginsTestCase):
    async def publish(self, adapter: Any) -> None:
        (port,) = free_ports(1)
        url = f"nats://127.0.0.1:{port}"
        settings = {"url": url, "stream": "S", "subject": "s.>", "consumer_name": "c", "backoff": [0.1]}
        trigger = {"name": "q", "type": "nats", "settings": settings}
        dev = {"nats": {"port": port, "streams": [{"name": "S", "subjects": ["s.>"]}]}}
        daemon = self.start_node(adapter, trigger, dev=dev)
        await daemon.says("node +ready")

        async def bound() -> bool:
            return bool(await get_json(f"http://127.0.0.1:{self.admin}/ready") == [])

        await until(bound, "a consumer")
        await from_asyncio(self.send(url, (b'{"order": 17}', b"a text", b"fail")))
        await self.reported(lambda reports: len(reports) == 3)
        texts = {heard.json["result"] for heard in self.server.reports}
        self.assertEqual(
            texts,
            {
                "{'order': 17} on s.new, delivery 1",
                "'a text' on s.new, delivery 1",
                "'fail' on s.new, delivery 2",
            },
        )
        self.assertEqual(await daemon.stop(), 0)

    async def send(self, url: str, messages: tuple[bytes, ...]) -> None:
        client = await nats.connect(url)
        for message in messages:
            await client.jetstream().publish("s.new", message)
        await client.close()

    @asynchronous
    async def test_native(self) -> None:
        await self.publish({})

    @asynchronous
    async def test_http(self) -> None:
        await self.publish(self.http())


class StartTests(TaskPluginsTestCase):
    @asynchronous
    async def test_no_caller_makes_tasks(self) -> None:
        daemon = self.start_node(self.http())
        await daemon.says("node +ready")
        for path in ("/on-task", "/on-message", "/on-trigger", "/x/../on-task"):
            url = f"http://127.0.0.1:{self.gateway}{path}"
            response = await treq.post(url, data=b"{}", persistent=False, timeout=5)
            self.assertEqual((response.code, await response.json()), (404, {"message": "no such path"}))
        self.assertEqual(await daemon.stop(), 0)

    @asynchronous
    async def test_minimal(self) -> None:
        """The example, with the results that its README shows."""
        example = ROOT / "examples" / "minimal"
        text = (example / "config.yaml").read_text()
        (port,) = free_ports(1)
        for shipped, other in {
            "127.0.0.1:9000": f"127.0.0.1:{self.gateway}",
            "tasks: tasks.yaml": f'tasks: tasks.yaml, listen: "127.0.0.1:{port}"',
            "*/5": "*",
            "/tmp/scfd-minimal": str(self.folder / "state"),
            "native: minimal": f'native: minimal, path: "{example}"',
        }.items():
            self.assertIn(shipped, text)
            text = text.replace(shipped, other)
        text += f'admin: {{listen: "127.0.0.1:{self.admin}"}}\n'
        (self.folder / "tasks.yaml").write_text((example / "tasks.yaml").read_text())
        daemon = Daemon(text, self.folder)
        self.addCleanup(daemon.clean_up)
        daemon.start()

        async def three() -> Any:
            state = await get_json(f"http://127.0.0.1:{port}/state")
            results = {result["task_id"]: result for result in state["results"]}
            return results if len(results) == 3 else None

        results = await until(three, "three results")
        readme = (example / "README.rst").read_text()
        for name, result in results.items():
            row = f"``{name}``\\s+{result['status']}\\s+``"
            self.assertRegex(readme, row)
            self.assertIn(f"``{result['result']}``", readme)
        self.assertEqual(daemon.output.count("builtins.KeyError: 'price'"), 1)
        self.assertEqual(await daemon.stop(), 0)
