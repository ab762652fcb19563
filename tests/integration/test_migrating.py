"""The commands of docs/migrating.rst, one after the other, in the deployment that it shows."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports
from tests.test_migrate import files_in_docs

#: A shell finds ``scfd`` and ``python3`` of this environment.
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class MigratingTests(TestCase):
    timeout = 120

    def test_step_by_step(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.walk())

    async def walk(self) -> None:
        folder = Path(self.mktemp()).absolute()
        ports = dict(zip(("9000", "9001", "9002", "18202"), map(str, free_ports(4)), strict=True))

        def moved(text: str) -> str:
            return re.sub(r"\b(9000|9001|18202)\b", lambda found: ports[found[0]], text)

        for name, text in files_in_docs().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(moved(text))
        (folder / "plugin").mkdir()
        shutil.copy(ROOT / "examples/http-plugin/plugin.py", folder / "plugin/main.py")
        plugin = folder / "plugin/main.py"
        plugin.write_text(moved(plugin.read_text()))

        docs = (ROOT / "docs/migrating.rst").read_text()
        *commands, last = re.findall(r"(?m)^    \$ (.*)\n((?:    [^$\n].*\n)*)", docs)
        self.assertEqual([command.split()[0] for command, _ in commands], ["scfd", "scfd", "(cat", "echo"])
        for command, expected in commands:
            out, err, status = await getProcessOutputAndValue(
                "/bin/sh",
                ["-c", moved(command)],
                env={**os.environ, "PATH": PATH, "PYTHONPATH": str(ROOT)},
                path=str(folder),
            )
            self.assertEqual((status, err), (0, b""), command)
            self.assertTrue(out.decode().startswith(expected.strip()), out.decode())

        name, _, command = last[0].partition(" ")
        environ = dict([name.split("=")])
        environ.update(STATE_DIRECTORY=str(folder / "state"), PATH=PATH, PORT=ports["9000"])
        with (folder / "try.yaml").open("a") as file:
            file.write(f'admin: {{listen: "127.0.0.1:{ports["9002"]}"}}\n')
        daemon = Daemon("", folder, environ).start_python("-m", *command.split())
        self.addCleanup(daemon.clean_up)
        await daemon.says("plugin +HTTP plugin data-collector|data-collector.* is ready")
        await daemon.says("scheduled-collect at .*: task-001")
        await daemon.says("task results are delivered")
        self.assertEqual(await daemon.stop(), 0)
