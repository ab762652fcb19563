"""Examples run as they are, but for their ports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until


class ExamplesTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    async def start(self, name: str) -> Daemon:
        """Run a copy of an example, on ports that are free."""
        shutil.copytree(ROOT / "examples" / name, self.folder)
        self.gateway, admin, self.control_plane, plugin = free_ports(4)
        for file in (self.folder / "config.yaml", *self.folder.glob("plugin.*")):
            text = file.read_text().replace("9000", str(self.gateway)).replace("9001", str(plugin))
            file.write_text(text.replace(f"/tmp/scfd-{name}", str(self.folder / "state")))
        config = (self.folder / "config.yaml").read_text()
        listen = f'listen: "127.0.0.1:{self.control_plane}"'
        config = config.replace("{tasks: tasks.yaml}", f"{{{listen}, tasks: tasks.yaml}}")
        daemon = Daemon(f'{config}admin: {{listen: "127.0.0.1:{admin}"}}\n', self.folder)
        self.addCleanup(daemon.clean_up)
        daemon.start_python("-m", "scfd", "run")
        await daemon.says("node         ready")
        return daemon

    async def reported(self, expected: set[tuple[str, str]]) -> None:
        async def there() -> bool:
            state = await get_json(f"http://127.0.0.1:{self.control_plane}/state")
            return expected <= {(result["task_id"], result["result"]) for result in state["results"]}

        await until(there, "results")

    async def ends_well(self, daemon: Daemon) -> None:
        self.assertEqual(await daemon.stop(), 0)
        self.assertNotIn("Traceback", daemon.output)
        self.assertNotIn(" error ", daemon.output)

    async def test_hello(self) -> None:
        daemon = await self.start("hello")
        await self.reported({("Ada", "Hello, Ada"), ("Grace", "Hello, Grace")})
        await self.ends_well(daemon)

    async def test_http_plugin(self) -> None:
        daemon = await self.start("http-plugin")
        await self.check_http(daemon, "done")

    async def test_node_js(self) -> None:
        if shutil.which("node") is None:
            raise SkipTest("there is no Node.js here")
        daemon = await self.start("node-js")
        await self.check_http(daemon, "done by Node.js")

    async def check_http(self, daemon: Daemon, result: str) -> None:
        await self.reported({("task-001", result), ("task-002", result)})
        await daemon.says("plugin.output every-five-seconds at .*: task-001, task-002")
        said: Any = await get_json(f"http://127.0.0.1:{self.gateway}/hello")
        self.assertEqual(said, {"message": "hello 127.0.0.1"})
        await self.ends_well(daemon)
