"""Tests for `scfd.cli.completion`; the shells really complete, those that are here."""

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

    def said(self, shell: str, script: str) -> list[str]:
        """The lines of a script that has read what `scfd completion` prints for its shell."""
        program = shutil.which(shell)
        if program is None:
            raise SkipTest(f"there is no {shell} here")
        scfd = Path("scfd").absolute()
        scfd.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m scfd "$@"\n')
        scfd.chmod(0o755)
        env = {**os.environ, "PATH": f"{scfd.parent}:{os.environ['PATH']}", "HOME": str(scfd.parent)}
        text = script.replace("SCRIPT", SCRIPTS[shell])
        ended = subprocess.run(
            [program, "-c", text], capture_output=True, text=True, timeout=60, check=True, env=env
        )
        self.assertEqual(ended.stderr, "")
        return ended.stdout.splitlines()

    def test_bash(self) -> None:
        lines = self.said(
            "bash",
            """SCRIPT
COMP_WORDS=(scfd fire each-) COMP_CWORD=2
_scfd
printf '%s\\n' "${COMPREPLY[@]}"
COMP_WORDS=(scfd '') COMP_CWORD=1
_scfd
printf '%s\\n' "${COMPREPLY[@]}"
complete -p scfd
""",
        )
        self.assertEqual(lines[:2], ["each-minute", "each-hour"])
        self.assertIn("dead-letters", lines)
        self.assertIn("-F _scfd scfd", lines[-1])

    def test_zsh(self) -> None:
        lines = self.said(
            "zsh",
            """compdef() { print -- compdef "$@" }
_describe() { print -l -- "${(@P)2}" }
_files() { print files }
SCRIPT
words=(scfd fire each-) CURRENT=3; _scfd
words=(scfd check --st) CURRENT=3; _scfd
words=(scfd check conf) CURRENT=3; _scfd
""",
        )
        expected = ["each-minute", "each-hour", "--strict:exit status 1 for warnings, too", "files"]
        self.assertEqual(lines, ["compdef _scfd scfd", *expected])

    def test_fish(self) -> None:
        lines = self.said(
            "fish",
            """SCRIPT
complete -C 'scfd fire each-'
complete -C 'scfd check --st'
complete -C 'scfd check conf'
""",
        )
        self.assertEqual(lines[:2], ["each-hour", "each-minute"])
        self.assertEqual(lines[2:], ["--strict\texit status 1 for warnings, too", "config.yaml"])
