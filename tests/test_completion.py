"""Tests for `scfd.cli.completion`; bash really completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from scfd.cli.completion import SCRIPTS, candidates
from scfd.cli.main import command_parser

ROOT = Path(__file__).resolve().parent.parent

CONFIG = """
triggers:
  - {name: each-minute, type: timer, settings: {cron: "0 * * * * * *"}}
  - {name: each-hour, type: timer, settings: {cron: "nonsense"}}
  - {name: orders, type: nats}
  - 7
"""


class CompletionTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        before = os.getcwd()
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        Path("config.yaml").write_text(CONFIG)

    def complete(self, line: str) -> list[str]:
        """:param line: what is written after ``scfd ``, up to the cursor."""
        return [found.partition("\t")[0] for found in candidates(command_parser(), line.split(" "))]

    def test_commands(self) -> None:
        self.assertEqual(self.complete("ru"), ["run"])
        self.assertIn("check", self.complete(""))
        self.assertNotIn("complete", self.complete(""), "it is for shells")
        self.assertIn("run\trun a node in the foreground", list(candidates(command_parser(), ["r"])))
        self.assertEqual(self.complete("nonsense "), [])

    def test_options(self) -> None:
        self.assertEqual(self.complete("run --r"), ["--reload"])
        self.assertEqual(self.complete("run etc/config.yaml --t"), ["--trpc-config"])
        self.assertNotIn("--no-dev", self.complete("run --"))
        self.assertEqual(self.complete("--v"), ["--version"])

    def test_choices(self) -> None:
        self.assertEqual(self.complete("completion "), ["bash", "zsh", "fish"])

    def test_files_are_the_shells_own(self) -> None:
        for line in ("check ", "run ", "run --trpc-config ", "new "):
            self.assertEqual(self.complete(line), [], line)

    def test_triggers(self) -> None:
        self.assertEqual(self.complete("fire "), ["each-minute", "each-hour", "orders"])
        self.assertEqual(self.complete("pause each-h"), ["each-hour"])
        self.assertEqual(self.complete("events --trigger o"), ["orders"])
        Path("config.yaml").rename("other.yaml")
        self.assertEqual(self.complete("fire "), [])
        self.assertEqual(self.complete("fire --config other.yaml o"), ["orders"])
        Path("other.yaml").write_text("triggers: [")
        self.assertEqual(self.complete("fire --config other.yaml "), [])

    def test_bash(self) -> None:
        bash = shutil.which("bash")
        if bash is None:
            raise SkipTest("there is no bash here")
        script = f"""
scfd() {{ PYTHONPATH={ROOT} {sys.executable} -m scfd "$@"; }}
{SCRIPTS["bash"]}
COMP_WORDS=(scfd fire each-) COMP_CWORD=2
_scfd
printf '%s\\n' "${{COMPREPLY[@]}}"
COMP_WORDS=(scfd '') COMP_CWORD=1
_scfd
printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p scfd
"""
        said = subprocess.run(
            [bash, "-c", script], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        lines = said.splitlines()
        self.assertEqual(lines[:2], ["each-minute", "each-hour"])
        self.assertIn("dead-letters", lines)
        self.assertIn("-F _scfd scfd", lines[-1])
