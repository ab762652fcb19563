"""What docs/first-function.rst, the README and docs/zh have a newcomer type, typed in this order."""

from __future__ import annotations

import re
import shlex
import textwrap

from tests.integration.daemon import ROOT, Daemon
from tests.integration.projects import ProjectTestCase, run_program, says_what_is_shown

BLOCK = re.compile(r"\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)")
#: .ci/check_install.py types these.
INSTALLING = ("python3 -m venv ", ". venv/", ". .venv/", "pip install ")


class NewcomerTests(ProjectTestCase):
    daemon: Daemon
    said = ""

    async def follow(self, page: str) -> None:
        """Type its commands, and write its files."""
        self.folder.mkdir()
        for language, block in BLOCK.findall(page):
            text = textwrap.dedent(block).strip() + "\n"
            if language == "sh":
                for line in text.splitlines():
                    await self.type(line.partition(" #")[0].rstrip())
            else:
                name = text.partition("\n")[0].removeprefix("# ")
                self.assertTrue((self.folder / name).exists(), f"{name}: scfd new has made no such file")
                (self.folder / name).write_text(text)

    async def type(self, line: str) -> None:
        if line.startswith("cd "):
            self.folder /= line[3:]
        elif line.startswith("scfd run"):
            self.use_free_ports()
            self.daemon = await self.start(*shlex.split(line)[2:])
            await self.has_results(lambda results: len(results) >= 2)
        elif not line.startswith(INSTALLING):
            out, errors, status = await run_program(self.folder, *shlex.split(line))
            self.assertEqual(status, 0, f"{line}\n{out}{errors}")
            self.said = out

    async def test_first_function(self) -> None:
        page = (ROOT / "docs/first-function.rst").read_text()
        await self.follow(page)
        await says_what_is_shown(page, self.daemon)
        shown = page[page.index("    TASK    STATUS") :].split("\n\n")[0]
        for line, found in zip(shown.splitlines(), self.said.splitlines(), strict=True):
            self.assertEqual(without_figures(line), without_figures(found))
        self.assertEqual(await self.daemon.stop(), 0)

    async def test_readme(self) -> None:
        await self.follow((ROOT / "README.rst").read_text())
        await self.has_results(
            lambda results: {each["result"] for each in results} == {"Hello, Ada", "Hello, Grace"}
        )
        await self.ends_well(self.daemon)

    async def test_quick_start_in_chinese(self) -> None:
        page, _, _ = (ROOT / "docs/zh/quickstart.rst").read_text().partition("部署到 SCF")
        await self.follow(page)
        await self.ends_well(self.daemon)


def without_figures(line: str) -> str:
    """A line of a table, whose columns are as wide as their figures."""
    return " ".join(re.sub(r"[\d.]+( m?s)?", "0", line).split())
