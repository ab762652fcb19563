"""Tests for scfd.prepared, in processes of their own: it changes attrs and re."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import ROOT

#: Notes a class, a dataclass and patterns, as `scfd.prepared.MODULES` would have them.
MODULE = r"""
import re
from dataclasses import dataclass
from attrs import field, frozen

@frozen
class A:
    x: int
    y: str = field(default="s", repr=False)

@dataclass(frozen=True)
class D:
    x: int = 1

PATTERN = re.compile(r"(?P<name>\w+)=(\d+)", re.IGNORECASE)
BYTES = re.compile(rb"[^a-z]+")
"""
NOTE = """
from scfd import prepared
prepared.MODULES = ("noted",)
open("file", "wb").write(prepared.note())
"""
USE = """
import builtins, sys
from scfd import prepared
prepared.use("file")
import noted as n
left = [0]
compile = builtins.compile
def counted(*arguments, **options):
    left[0] += "generated" in arguments[1] or "dataclass" in arguments[1]
    return compile(*arguments, **options)
del sys.modules["noted"]
builtins.compile = counted
import noted as n
a = n.A(1)
print(left[0], a == n.A(1), a != n.A(2), hash(a) == hash(n.A(1)), a, n.D(), n.D(2) == n.D(2))
match = n.PATTERN.fullmatch("Ab=12")
print(match["name"], match[2], n.PATTERN.flags, n.PATTERN.groupindex, n.BYTES.search(b"a1b")[0])
import attrs, re
print(attrs.make_class("Other", ["z"])(1), re.fullmatch("[0-9]", "1")[0])
"""


class PreparedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "noted.py").write_text(MODULE)

    def python(self, program: str, seed: str) -> str:
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}:.", "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        ran = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ran.stderr, "")
        return ran.stdout

    def test_used_in_another_process(self) -> None:
        self.python(NOTE, "0")
        self.assertEqual(
            self.python(USE, "random").splitlines(),
            [
                "0 True True True A(x=1) D(x=1) True",
                "Ab 12 34 {'name': 1} b'1'",  # 34: IGNORECASE and UNICODE
                "Other(z=1) 1",
            ],
        )

    def test_the_same_bytes_each_time(self) -> None:
        made = []
        for _ in range(2):
            self.python(NOTE, "0")
            made.append((self.folder / "file").read_bytes())
        self.assertEqual(made[0], made[1])

    def test_of_another_python(self) -> None:
        self.python(NOTE.replace("prepared.MODULES", "prepared._VERSION = ()\nprepared.MODULES"), "0")
        self.assertNotIn("0 True", self.python(USE, "0"))
