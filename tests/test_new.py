"""Tests for `scfd.cli.new`: names, and what is in a new project. That it runs is an integration test."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd.cli.new import PROJECTS, make_project
from scfd.errors import StartupError


class NewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def refused(self, name: str, expected: str) -> None:
        error = self.assertRaises(StartupError, make_project, name, "native", self.folder)
        self.assertRegex(str(error), f"^scfd new: .*{expected}")
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_everything_has_the_name(self) -> None:
        for kind in ("native", "http", "message"):
            name = f"order-{kind}"
            self.assertIn(f"cd {name}\n", make_project(name, kind, self.folder))
            files = [file for file in (self.folder / name).rglob("*") if file.is_file()]
            names = sorted(file.name for file in files)
            for expected in (".gitignore", "README.md", "config.yaml", "tasks.yaml", f"test_order_{kind}.py"):
                self.assertIn(expected, names)
            for file in files:
                for text in (file.name, file.read_text()):
                    self.assertNotRegex(text, "(?i)my.?function")
            kept = [file for file in (PROJECTS / kind).rglob("*") if file.is_file() and file.suffix != ".pyc"]
            self.assertEqual(len(files), len(kept))

    def test_names_that_can_not_be_one(self) -> None:
        for name in ("", "1x", "a b", "a/b", "../x", "-x", "_x", "ä", "a.b"):
            self.refused(name, "found the name .*; expected letters, digits, - and _")
        for name in ("class", "None", "import"):
            self.refused(name, "a keyword of Python")
        for name in ("json", "twisted", "scfd", "sys", "scf-log"):
            self.refused(name, "that of an installed module")

    def test_a_module_of_the_working_directory_is_not_installed(self) -> None:
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        Path("mine_alone.py").touch()
        make_project("mine-alone", "native", Path())

    def test_a_folder_that_is_there(self) -> None:
        (self.folder / "mine").mkdir()
        self.refused("mine", "mine exists already")
        (self.folder / "link").symlink_to("nowhere")
        self.refused("link", "link exists already")

    def test_a_folder_that_can_not_be_made(self) -> None:
        self.folder = self.folder / "file"
        self.folder.touch()
        self.refused("mine", "mine can't be made: Not a directory")
