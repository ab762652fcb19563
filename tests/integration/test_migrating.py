"""The commands of docs/migrating.rst, one after the other, in the deployment that it shows."""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports
from tests.integration.node import asynchronous
from tests.integration.test_package import needs_network
from tests.test_migrate import files_in_docs

#: A shell finds ``scfd`` and ``python3`` of this environment.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class MigratingTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        docs = (ROOT / "docs/migrating.rst").read_text()
        *self.commands, self.running, self.packaging = re.findall(
            r"(?m)^    \$ (.*)\n((?:    [^$\n].*\n)*)", docs
        )

    def write_deployment(self, moved: Callable[[str], str]) -> None:
        for name, text in files_in_docs().items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(moved(text))
        (self.folder / "plugin").mkdir()
        plugin = (ROOT / "examples/http-plugin/plugin.py").read_text()
        (self.folder / "plugin/main.py").write_text(moved(plugin))

    async def type(self, command: str, expected: str = "") -> None:
        """A command ends well, and prints what is expected first."""
        environ = {**os.environ, "PATH": PATH, "PYTHONPATH": str(ROOT)}
        out, err, status = await getProcessOutputAndValue(
            "/bin/sh", ["-c", command], environ, str(self.folder)
        )
        self.assertEqual((status, err), (0, b""), command)
        self.assertTrue(out.decode().startswith(expected.strip()), out.decode())

    @asynchronous
    async def test_step_by_step(self) -> None:
        ports = dict(zip(("9000", "9001", "9002", "18202"), map(str, free_ports(4)), strict=True))

        def moved(text: str) -> str:
            return re.sub(r"\b(9000|9001|18202)\b", lambda found: ports[found[0]], text)

        self.write_deployment(moved)
        self.assertEqual([each.split()[0] for each, _ in self.commands], ["scfd", "scfd", "(cat", "echo"])
        for command, expected in self.commands:
            await self.type(moved(command), expected)

        name, _, command = self.running[0].partition(" ")
        environ = dict([name.split("=")])
        environ.update(STATE_DIRECTORY=str(self.folder / "state"), PATH=PATH, PORT=ports["9000"])
        with (self.folder / "try.yaml").open("a") as file:
            file.write(f'admin: {{listen: "127.0.0.1:{ports["9002"]}"}}\n')
        daemon = Daemon("", self.folder, environ).start_python("-m", *command.split())
        self.addCleanup(daemon.clean_up)
        await daemon.says("plugin +HTTP plugin data-collector|data-collector.* is ready")
        await daemon.says("scheduled-collect at .*: task-001")
        await daemon.says("task results are delivered")
        self.assertEqual(await daemon.stop(), 0)

    @asynchronous
    async def test_package(self) -> None:
        await deferToThread(needs_network)
        self.write_deployment(str)
        await self.type(self.commands[0][0])
        await self.type(self.packaging[0])
        names = zipfile.ZipFile(self.folder / "fn.zip").namelist()
        self.assertLessEqual({"scf_bootstrap", "scfd.yaml", "plugin/main.py"}, set(names))
