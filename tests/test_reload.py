"""Tests for `scfd.reload`: which files count, and what is said of broken ones."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd.config import AdapterSettings, Config, HttpAdapterSettings
from scfd.errors import StartupError
from scfd.reload import Files, syntax_mistake


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)

    def files(self, adapter: AdapterSettings | None = None, path: str = "config.yaml") -> Files:
        return Files(Config(path=path, adapter=adapter or AdapterSettings()))

    def matter(self, files: Files, *names: str) -> list[str]:
        return [name for name in names if files.matter(str(self.folder / name))]

    def test_what_counts(self) -> None:
        (self.folder / "mine").mkdir()
        (self.folder / "mine/pyvenv.cfg").touch()
        good = ["config.yaml", "a.py", "twisted/plugins/b.py", "deep/er/c.py", "_private/d.py", "e.js"]
        bad = [
            "tasks.yaml",
            "a.pyc",
            ".#a.py",
            ".git/hooks/h.py",
            "__pycache__/a.py",
            ".venv/lib/a.py",
            "mine/lib/a.py",
            "node_modules/m/index.js",
            "twisted/plugins/dropin.cache",
        ]
        self.assertEqual(self.matter(self.files(), *good, *bad), good)

    def test_the_command_of_a_plugin(self) -> None:
        (self.folder / "server").mkdir()
        (self.folder / "server/plugin.bin").touch()
        http = HttpAdapterSettings(
            url="http://127.0.0.1:1", command=("./plugin.bin", "--port", "1"), cwd="server"
        )
        files = self.files(AdapterSettings(http=http))
        self.assertEqual(self.matter(files, "server/plugin.bin", "server/other.bin"), ["server/plugin.bin"])

    def test_a_config_elsewhere_is_watched_alone(self) -> None:
        files = self.files(path="../config.yaml")
        config = str(self.folder.parent / "config.yaml")
        self.assertEqual(files.folders, sorted([str(self.folder), config]))
        self.assertTrue(files.matter(config))

    def test_everything_is_too_much(self) -> None:
        os.chdir("/")
        self.assertRaisesRegex(StartupError, "expected a project's folder, found /", self.files)


class SyntaxTests(SynchronousTestCase):
    def check(self, source: bytes, expected: str) -> None:
        path = self.mktemp()
        Path(path).write_bytes(source)
        self.assertRegex(syntax_mistake(path), expected.format(path))

    def test_none(self) -> None:
        self.check(b"x = 1\n", "^$")
        self.assertEqual(syntax_mistake("/no/such/file.py"), "")

    def test_with_file_and_line(self) -> None:
        self.check(b"x = 1\ndef f(:\n", "^{}:2: SyntaxError: invalid syntax$")
        self.check(b"if True:\nx = 1\n", "^{}:2: IndentationError: expected an indented block")
        self.check(b"x = '\xff'\n", "SyntaxError: .*(unicode|encoding|utf-8|Non-UTF-8)")
        self.check(b"x = 1\0\n", "^{}.*: .*null byte")
