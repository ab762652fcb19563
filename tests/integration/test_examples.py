"""The examples: run as they are, but for their ports and the seconds between fires; and their own tests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import treq
from twisted.internet.defer import Deferred, gatherResults

from tests.integration.daemon import ROOT, Daemon, get_json
from tests.integration.projects import ProjectTestCase, says_what_is_shown

EXAMPLES = ROOT / "examples"


class ExamplesTests(ProjectTestCase):
    async def start_example(self, name: str, *options: str) -> Daemon:
        """``scfd run`` a copy of an example."""
        shutil.copytree(EXAMPLES / name, self.folder)
        self.use_free_ports(**{'"5 * * * * * *"': '"* * * * * * *"'})
        return await self.start(*options)

    async def ask(self, path: str) -> Any:
        """What a caller of the gateway gets, as JSON."""
        return await get_json(f"http://127.0.0.1:{self.gateway}{path}")

    async def reported(self, *expected: tuple[str, str]) -> None:
        """Wait for results: of each pair of a task and a pattern."""
        await self.has_results(
            lambda results: all(
                any(each["task_id"] == task and re.fullmatch(pattern, each["result"]) for each in results)
                for task, pattern in expected
            )
        )

    async def says_what_the_readme_shows(self, daemon: Daemon) -> None:
        await says_what_is_shown((self.folder / "README.rst").read_text(), daemon)

    async def test_hello(self) -> None:
        daemon = await self.start_example("hello")
        await self.reported(("Ada", "Hello, Ada"), ("Grace", "Hello, Grace"))
        _, _, page = (ROOT / "README.rst").read_text().partition("You see, among other lines::")
        await says_what_is_shown(page, daemon)
        await self.says_what_the_readme_shows(daemon)
        await self.ends_well(daemon)

    async def test_http_plugin(self) -> None:
        daemon = await self.start_example("http-plugin")
        await self.check_http(daemon, "done")

    async def test_node_js(self) -> None:
        daemon = await self.start_example("node-js")
        await self.check_http(daemon, "done by Node.js")

    async def check_http(self, daemon: Daemon, result: str) -> None:
        await self.reported(("task-001", result), ("task-002", result))
        await daemon.says("plugin.output every-five-seconds at .*: task-001, task-002")
        self.assertEqual(await self.ask("/hello"), {"message": "hello 127.0.0.1"})
        await self.says_what_the_readme_shows(daemon)
        await self.ends_well(daemon)

    async def test_data_collector(self) -> None:
        daemon = await self.start_example("data-collector")
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
        daemon = await self.start_example("factor-calculator", "--reload")
        await self.says_what_the_readme_shows(daemon)
        subject, _, text = (await self.python("show.py", "1", folder=self.folder)).partition(" ")
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

    async def test_web(self) -> None:
        daemon = await self.start_example("web")
        await self.reported(("system", r"\d+% used"), ("temporary", r"\d+% used"))
        self.assertIn("used", await self.ask("/disks/system"))
        self.assertEqual(await self.ask("/disks/floppy"), {"message": "expected one of system, temporary"})
        response = await treq.get(f"http://127.0.0.1:{self.gateway}/", timeout=5, persistent=False)
        self.assertRegex(await response.text(), r"<h1>Disks</h1>.*<td>system</td><td>\d+%</td>")
        await self.says_what_the_readme_shows(daemon)
        await self.ends_well(daemon)


class OwnTestsTests(ProjectTestCase):
    def test_each_has_a_readme(self) -> None:
        for config in EXAMPLES.glob("*/config.yaml"):
            self.assertTrue(config.with_name("README.rst").exists(), config)

    async def run_those_of(self, example: Path) -> None:
        said = await self.python("-m", "unittest", folder=example)
        self.assertRegex(said, r"(?m)^Ran [1-9]\d* tests? in ")

    async def test_all_pass(self) -> None:
        """As their READMEs say, and side by side."""
        examples = sorted({test.parent for test in EXAMPLES.glob("*/test_*.py")})
        self.assertIn(EXAMPLES / "data-collector", examples)
        await gatherResults([Deferred.fromCoroutine(self.run_those_of(example)) for example in examples])
