"""The examples: run as they are, but for their ports and the seconds between fires; and their own tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, get_json, until

EXAMPLES = ROOT / "examples"
#: A line of the log, as a README shows it.
SHOWN = re.compile(r"^    ((?:info|warn|error|critical) .*)$", re.MULTILINE)


class ExamplesTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    async def start(self, name: str, *options: str) -> Daemon:
        """``scfd run`` a copy of an example, on ports that are free."""
        shutil.copytree(EXAMPLES / name, self.folder)
        self.gateway, admin, self.control_plane, plugin, nats = free_ports(5)
        replaced = {"9000": self.gateway, "9001": plugin, "14222": nats, '"5 * * * * * *"': '"* * * * * * *"'}
        for file in (file for file in self.folder.rglob("*") if file.suffix in {".yaml", ".py", ".js"}):
            text = file.read_text().replace(f"/tmp/scfd-{name}", str(self.folder / "state"))
            for old, new in replaced.items():
                text = text.replace(old, str(new))
            file.write_text(text)
        config = (self.folder / "config.yaml").read_text()
        listen = f'listen: "127.0.0.1:{self.control_plane}"'
        config = config.replace("{tasks: tasks.yaml}", f"{{{listen}, tasks: tasks.yaml}}")
        daemon = Daemon(f'{config}admin: {{listen: "127.0.0.1:{admin}"}}\n', self.folder)
        self.addCleanup(daemon.clean_up)
        daemon.start_python("-m", "scfd", "run", *options)
        await daemon.says("node         ready")
        return daemon

    async def ask(self, path: str) -> Any:
        """What a caller of the gateway gets, as JSON."""
        return await get_json(f"http://127.0.0.1:{self.gateway}{path}")

    async def reported(self, *expected: tuple[str, str]) -> None:
        """Wait for results: of each pair of a task and a pattern."""

        async def there() -> bool:
            results = (await get_json(f"http://127.0.0.1:{self.control_plane}/state"))["results"]
            return all(
                any(each["task_id"] == task and re.fullmatch(pattern, each["result"]) for each in results)
                for task, pattern in expected
            )

        await until(there, "results")

    async def says_what_the_readme_shows(self, daemon: Daemon) -> None:
        """Line by line, but for figures."""
        lines: list[str] = SHOWN.findall((self.folder / "README.rst").read_text())
        self.assertTrue(lines, "the README shows no line of the log")
        for line in lines:
            await daemon.says(re.sub(r"\d+", r"\\d+", re.sub(r"([^\w\s])", r"\\\1", line)))

    async def ends_well(self, daemon: Daemon) -> None:
        self.assertEqual(await daemon.stop(), 0)
        self.assertNotIn("Traceback", daemon.output)
        self.assertNotIn(" error ", daemon.output)

    async def test_hello(self) -> None:
        daemon = await self.start("hello")
        await self.reported(("Ada", "Hello, Ada"), ("Grace", "Hello, Grace"))
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
        await self.reported(("task-001", result), ("task-002", result))
        await daemon.says("plugin.output every-five-seconds at .*: task-001, task-002")
        self.assertEqual(await self.ask("/hello"), {"message": "hello 127.0.0.1"})
        await self.ends_well(daemon)

    async def test_data_collector(self) -> None:
        daemon = await self.start("data-collector")
        await self.reported(
            ("bitcoin", r"BTCUSDT 1m: 99 new, the last one closed at [\d.]+ \(generated\)"),
            ("ether", "ETHUSDT 1m: 99 new, .*"),
            ("solana", "SOLUSDT 1m: 99 new, .*"),
        )
        samples = await self.ask("/samples?symbol=BTCUSDT&interval=1m&limit=5")
        self.assertEqual([sample["source"] for sample in samples], ["generated"] * 5)
        await self.says_what_the_readme_shows(daemon)
        await self.ends_well(daemon)

    async def test_factor_calculator(self) -> None:
        """The factors go on after the plugin was loaded anew."""
        daemon = await self.start("factor-calculator", "--reload")
        await self.says_what_the_readme_shows(daemon)
        out, errors, status = await run_python(self.folder, "show.py", "1")
        self.assertEqual(status, 0, errors)
        subject, _, text = out.partition(" ")
        factors = json.loads(text)
        self.assertEqual(subject, f"factor.{factors['symbol']}.1s")
        self.assertEqual(factors["source"], "generated")
        self.assertEqual(set(factors["macd"]), {"macd", "signal", "histogram"})
        (self.folder / "market.py").open("a").write("# a change\n")
        await daemon.says("market.py: changed; the node is started again")
        before = len(daemon.output)
        await daemon.says("(?s)is started again.*, macd [-0-9.]+ ")
        self.assertNotIn("too few", daemon.output[before:])
        await self.ends_well(daemon)


async def run_python(folder: Path, *arguments: str) -> tuple[str, str, int]:
    """:returns: what it has written to standard output and standard error, and its exit status."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    out, errors, status = await getProcessOutputAndValue(sys.executable, arguments, environ, str(folder))
    return out.decode(), errors.decode(), status


class OwnTestsTests(TestCase):
    timeout = 60

    async def run_those_of(self, example: Path) -> None:
        out, errors, status = await run_python(example, "-m", "unittest")
        self.assertEqual(status, 0, f"{example}\n{out}{errors}")
        self.assertRegex(errors, r"(?m)^Ran [1-9]\d* tests? in ")

    async def test_all_pass(self) -> None:
        """As their READMEs say, and side by side."""
        examples = sorted({test.parent for test in EXAMPLES.glob("*/test_*.py")})
        self.assertIn(EXAMPLES / "data-collector", examples)
        await gatherResults([Deferred.fromCoroutine(self.run_those_of(example)) for example in examples])
