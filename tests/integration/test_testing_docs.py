"""Every example of docs/testing.rst runs, with pytest and with trial."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

PAGE = Path(__file__).resolve().parents[2] / "docs/testing.rst"
BLOCK = re.compile(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)")


#: What a test of examples/hello may be, in that folder.
HELLO = """
from scfd.testing import Node

with Node(config="config.yaml") as node:
    node.set_tasks([{"task_id": "Ada"}])
    node.advance(seconds=30)
    print([result.result for result in node.results])
"""


class ExamplesTests(TestCase):
    timeout = 60

    async def test_a_project_by_its_config(self) -> None:
        folder = str(PAGE.parents[1] / "examples/hello")
        out, err, status = await getProcessOutputAndValue(
            sys.executable, ["-c", HELLO], env={"PYTHONPATH": folder}, path=folder
        )
        self.assertEqual((status, out.decode()), (0, f"{['Hello, Ada'] * 6}\n"), err.decode())

    async def test_all_of_them(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        blocks = [textwrap.dedent(block) for block in BLOCK.findall(PAGE.read_text())]
        self.assertGreater(len(blocks), 5)
        for block in blocks:
            name = block.partition("\n")[0].removeprefix("# ")
            self.assertTrue(name.endswith(".py"), f"an example does not begin with its name: {block[:50]}")
            (folder / name).write_text(block)
        for command, expected in (
            (["-m", "pytest", "-q", "-p", "no:cacheprovider", "."], "6 passed"),
            (["-m", "twisted.trial", "test_prices_trial"], "successes=1"),
        ):
            if "twisted.trial" in command:
                self.assertIn(f"``python {' '.join(command)}``", PAGE.read_text())
            out, err, status = await getProcessOutputAndValue(sys.executable, command, path=str(folder))
            self.assertEqual(status, 0, (out + err).decode())
            self.assertIn(expected, out.decode())
