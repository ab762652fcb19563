"""Runs projects for development as a newcomer would: as they are, but for their ports."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until

#: A line of the log, as pages show it, with or without its time.
SHOWN = re.compile(r"^    (?:[\d:.]+ )?((?:info|warn|error|critical) .*)$", re.MULTILINE)


async def run_program(folder: Path, program: str, *arguments: str) -> tuple[str, str, int]:
    """:returns: what it has written to standard output and standard error, and its exit status."""
    scripts = Path(sys.executable).parent
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environ["PATH"] = f"{scripts}{os.pathsep}{environ['PATH']}"
    out, errors, status = await getProcessOutputAndValue(program, arguments, environ, str(folder))
    return out.decode(), errors.decode(), status


async def says_what_is_shown(page: str, daemon: Daemon) -> None:
    """Wait for each line of the log that is on a page, but for figures and their signs."""
    lines: list[str] = SHOWN.findall(page)
    assert lines, "the page shows no line of the log"
    for line in lines:
        await daemon.says(re.sub(r"(\\-)?\d+", r"-?\\d+", re.sub(r"([^\w\s])", r"\\\1", line)))


class ProjectTestCase(TestCase):
    """
    :ivar folder: the project.
    :ivar gateway: the port of its gateway, once `use_free_ports` was called.
    """

    timeout = 90

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    async def python(self, *arguments: str, folder: Path) -> str:
        """:returns: what it has written, once it has ended well."""
        out, errors, status = await run_program(folder, sys.executable, *arguments)
        self.assertEqual(status, 0, f"{folder}\n{out}{errors}")
        return out + errors

    def use_free_ports(self, **replaced: str) -> None:
        """
        Change the project's files: other ports, and a state folder of its own.

        :param replaced: what else is replaced in them.
        """
        self.gateway, admin, self.control_plane, plugin, nats = free_ports(5)
        ports = {"9000": self.gateway, "9001": plugin, "14222": nats}
        for file in self.folder.rglob("*"):
            if file.suffix in {".yaml", ".py", ".js"}:
                text = re.sub(r"/tmp/scfd-[\w-]+", str(self.folder / "state"), file.read_text())
                for old, new in {**ports, **replaced}.items():
                    text = text.replace(old, str(new))
                file.write_text(text)
        config = self.folder / "config.yaml"
        listen = f'listen: "127.0.0.1:{self.control_plane}"'
        text = config.read_text().replace("{tasks: tasks.yaml}", f"{{{listen}, tasks: tasks.yaml}}")
        config.write_text(f'{text}admin: {{listen: "127.0.0.1:{admin}"}}\n')

    async def start(self, *options: str) -> Daemon:
        """``scfd run`` it."""
        daemon = Daemon((self.folder / "config.yaml").read_text(), self.folder)
        self.addCleanup(daemon.clean_up)
        daemon.start_python("-m", "scfd", "run", *options)
        await daemon.says("node         ready")
        return daemon

    async def has_results(self, condition: Callable[[list[Any]], bool]) -> None:
        """Wait for what the control plane has taken: dicts with ``task_id``, ``status`` and ``result``."""

        async def there() -> bool:
            return condition((await get_json(f"http://127.0.0.1:{self.control_plane}/state"))["results"])

        await until(there, "results")

    async def ends_well(self, daemon: Daemon) -> None:
        self.assertEqual(await daemon.stop(), 0)
        self.assertNotIn("Traceback", daemon.output)
        self.assertNotIn(" error ", daemon.output)
