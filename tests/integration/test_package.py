"""Packages of the HTTP plugin of the examples: for SCF, and for this machine, where they are booted."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import treq
import yaml
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from scfd.package.contents import files_of
from tests.integration.daemon import ROOT, Daemon, free_ports, reactor
from tests.integration.node import NodeTestCase, asynchronous

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
EXAMPLE = ROOT / "examples/http-plugin/plugin.py"
#: A build backend without dependencies: what it builds is for this machine only, or in Python alone.
BACKEND = """
import zipfile

def build_wheel(folder, settings=None, metadata=None):
    name = "thing-1.0-{tag}.whl"
    with zipfile.ZipFile(f"{{folder}}/{{name}}", "w") as made:
        made.writestr("thing.py", "")
        made.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n")
        made.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: {tag}\\n")
        made.writestr("thing-1.0.dist-info/RECORD", "")
    return name
"""


@cache
def needs_network() -> None:
    """Skip a test on a machine without a package index."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "six"]
        ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        raise SkipTest(f"no package index: {ran.stderr.strip().splitlines()[-1]}")


def package(folder: Path, *options: str) -> tuple[int, str]:
    """:returns: the exit status of `scfd package` for a folder with a config, and what it said."""
    command = [sys.executable, "-m", "scfd", "package", "--config", "config.yaml", "--output", "fn.zip"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [*command, *options], cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )
    return ran.returncode, ran.stdout + ran.stderr


def write_function(folder: Path, gateway: int = 9000, plugin: int = 9001, **sections: Any) -> None:
    """Put the example there, with the config of a function."""
    text = EXAMPLE.read_text().replace("9001", str(plugin))
    (folder / "plugin.py").write_text(text)
    config = {
        "system": {"name": "http-hello", "version": "v1.0.0"},
        "heartbeat": {"server_ip": "10.0.0.1", "server_port": 18202},
        "gateway": {"listen": f"0.0.0.0:{gateway}"},
        "adapter": {"http": {"url": f"http://127.0.0.1:{plugin}", "command": ["python3", "-u", "plugin.py"]}},
        "triggers": [{"name": "each", "type": "timer", "settings": {"cron": "* * * * * * *"}}],
        **sections,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


class ForScfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        write_function(self.folder)

    def test_package_of_an_http_plugin(self) -> None:
        needs_network()
        status, said = package(self.folder, "--python", "3.10")
        self.assertEqual(status, 0, said)
        self.assertIn("CPython 3.10 on manylinux2014_x86_64", said)
        self.assertRegex(said, r"booted, read-only|not booted: this machine has no Python 3\.10")
        self.assertLess((self.folder / "fn.zip").stat().st_size, 12_000_000)
        with zipfile.ZipFile(self.folder / "fn.zip") as opened:
            names = opened.namelist()
            self.assertEqual(opened.getinfo("scf_bootstrap").external_attr >> 16, 0o100755)
            start = opened.read("scf_bootstrap")
        self.assertEqual(names, sorted(names))
        self.assertTrue(start.startswith(b"#!/bin/bash\n"))
        self.assertIn(b"\nexec /var/lang/python310/bin/python3.10 packages/start.py config.yaml\n", start)
        libraries = [name for name in names if name.endswith(".so")]
        self.assertTrue(any("cpython-310-x86_64" in name for name in libraries), libraries)
        self.assertFalse([name for name in libraries if "cpython-3" in name and "cpython-310" not in name])
        for module in (
            "nats",
            "OpenSSL",
            "cryptography",
            "watchfiles",
            "nkeys",
            "twisted/trial",
            "scfd/testing",
        ):
            self.assertFalse([name for name in names if name.startswith(f"packages/{module}/")], module)
        self.assertIn("packages/tomli/__init__.py", names)  # needed by Python 3.10 alone

    def test_no_wheel_for_the_target(self) -> None:
        (self.folder / "thing-1.0-cp310-cp310-win_amd64.whl").write_bytes(b"")
        said = self.refused("./thing-1.0-cp310-cp310-win_amd64.whl")
        self.assertIn("thing-1.0-cp310-cp310-win_amd64.whl is not a supported wheel", said)
        self.assertIn("expected a wheel for CPython 3.10 on manylinux2014_x86_64", said)

    def test_source_that_is_not_python_alone(self) -> None:
        self.source("cp310-cp310-linux_x86_64")
        said = self.refused("./thing")
        self.assertIn(
            "there is no wheel for CPython 3.10 on manylinux2014_x86_64, and none can be built", said
        )

    def source(self, tag: str) -> None:
        folder = self.folder / "thing"
        folder.mkdir()
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        project = '[project]\nname = "thing"\nversion = "1.0"\n'
        (folder / "pyproject.toml").write_text(build + project)
        (folder / "backend.py").write_text(BACKEND.format(tag=tag))

    def refused(self, requirement: str) -> str:
        (self.folder / "requirements.txt").write_text(f"{requirement}\n")
        status, said = package(self.folder, "--requirements", "requirements.txt")
        self.assertEqual(status, 1, said)
        self.assertNotIn("Traceback", said)
        self.assertFalse((self.folder / "fn.zip").exists())
        return said


class HereTests(NodeTestCase):
    timeout = 180

    @asynchronous
    async def test_package_boots_serves_and_stops(self) -> None:
        needs_network()
        (plugin,) = free_ports(1)
        server = {"server_url": f"http://127.0.0.1:{self.server.port}", "interval": 0.3}
        admin = {"listen": f"127.0.0.1:{self.admin}"}
        write_function(self.folder, plugin=plugin, heartbeat=server, admin=admin)
        options = ("--python", HERE, "--interpreter", sys.executable)
        status, said = await deferToThread(package, self.folder, *options)
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"booted, read-only: healthy after [0-9.]+ s, SIGTERM ended it with status 0")
        first = (self.folder / "fn.zip").read_bytes()
        status, said = await deferToThread(package, self.folder, *options, "--no-verify")
        self.assertEqual((status, (self.folder / "fn.zip").read_bytes() == first), (0, True), said)
        await self.serves(self.unpacked())

    def unpacked(self) -> Path:
        """A folder with what is in the package, read-only."""
        folder = self.folder / "user"
        with zipfile.ZipFile(self.folder / "fn.zip") as opened:
            for entry in opened.infolist():
                path = Path(opened.extract(entry, folder))
                path.chmod(entry.external_attr >> 16 & 0o555)
        for path in (folder, *folder.rglob("*/")):
            path.chmod(0o555)
        self.addCleanup(subprocess.run, ["chmod", "-R", "u+w", str(folder)])
        return folder

    async def serves(self, folder: Path) -> None:
        before = files_of(folder)
        state = self.folder / "state"
        state.mkdir()
        node = Daemon("", self.folder / "other")
        environ = {
            "PORT": str(self.gateway),
            "PATH": "/usr/bin:/bin",
            "SCF_FUNCTIONNAME": "http-hello",
            "TENCENTCLOUD_RUNENV": "SCF",
            "PYTHONPATH": f"{folder}:/opt",
            "STATE_DIRECTORY": str(state),
        }
        program = str(folder / "scf_bootstrap")
        reactor.spawnProcess(node, program, [program], env=environ, path="/")
        self.addCleanup(node.clean_up)
        await node.says(r"each at 20\S+:")
        response = await treq.get(f"http://127.0.0.1:{self.gateway}/hello", persistent=False, timeout=5)
        self.assertEqual(await response.json(), {"message": "hello 127.0.0.1"})
        (beat, *_) = await self.heartbeats(1)
        self.assertEqual(beat["node_id"], "http-hello")
        self.assertEqual(await node.stop(), 0)
        self.assertEqual(files_of(folder), before)
