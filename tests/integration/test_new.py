"""``scfd new``: each kind of project passes its test, and runs, as it is but for its ports."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until


class NewTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    async def python(self, *arguments: str, folder: Path) -> str:
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        out, errors, status = await getProcessOutputAndValue(
            sys.executable, arguments, env=environ, path=str(folder)
        )
        said: str = (out + errors).decode()
        self.assertEqual(status, 0, said)
        return said

    async def make(self, *options: str) -> Path:
        await self.python("-m", "scfd", "new", "try-this", *options, folder=self.folder)
        project = self.folder / "try-this"
        said = await self.python("-m", "unittest", folder=project)
        self.assertRegex(said, r"(?m)^Ran \d tests in .*\n\nOK")
        return project

    async def run_it(self, project: Path) -> None:
        """Run it, on ports that are free."""
        gateway, admin, self.control_plane, self.plugin, self.nats = free_ports(5)
        ports = {"9000": gateway, "9001": self.plugin, "14222": self.nats}
        for file in project.glob("*"):
            if file.is_file():
                text = file.read_text()
                for port, free in ports.items():
                    text = text.replace(port, str(free))
                file.write_text(text)
        config = (project / "config.yaml").read_text()
        listen = f'listen: "127.0.0.1:{self.control_plane}"'
        config = config.replace("{tasks: tasks.yaml}", f"{{{listen}, tasks: tasks.yaml}}")
        config += f'admin: {{listen: "127.0.0.1:{admin}"}}\n'
        self.daemon = Daemon(config, project)
        self.addCleanup(self.daemon.clean_up)
        self.daemon.start_python("-m", "scfd", "run", "--reload")
        await self.daemon.says("node         ready")

    async def reported(self, condition: Callable[[list[Any]], bool]) -> None:
        async def there() -> bool:
            state = await get_json(f"http://127.0.0.1:{self.control_plane}/state")
            return condition([result["result"] for result in state["results"] if result["status"] == 2])

        await until(there, "results")
        self.assertEqual(await self.daemon.stop(), 0)
        self.assertNotIn("Traceback", self.daemon.output)

    async def test_native(self) -> None:
        await self.run_it(await self.make())
        await self.reported(lambda results: {"Hello, Ada", "Hello, Grace"} <= set(results))

    async def test_http(self) -> None:
        await self.run_it(await self.make("--http"))
        await self.reported(lambda results: {"Hello, Ada", "Hello, Grace"} <= set(results))

    async def test_message(self) -> None:
        project = await self.make("--message")
        await self.run_it(project)
        await self.daemon.says("consuming orders.> of stream ORDERS")
        said = await self.python("send.py", "3", "9.5", folder=project)
        self.assertIn("message 1 of stream ORDERS", said)
        await self.daemon.says("orders.new: 28.50 EUR")

        # Started again, and the stream is still the same.
        code = project / "try_this.py"
        code.write_text(code.read_text().replace(":.2f}", ":.3f}"))
        await self.daemon.says("try_this.py: changed(.|\n)*consuming orders.> of stream ORDERS")
        said = await self.python("send.py", "1", "2", folder=project)
        self.assertIn("message 2 of stream ORDERS", said)
        await self.reported(lambda results: sorted(results) == ["2.000 EUR", "28.50 EUR"])
