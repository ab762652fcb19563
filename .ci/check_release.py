"""What build/release holds is this version, whole. ``make check-release`` builds it first."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd import __version__

PROJECT = Path(__file__).resolve().parent.parent
RELEASE = PROJECT / "build/release"


def git(*arguments: str) -> list[str]:
    """:returns: the lines that it prints; none when it fails, as where there is no repository."""
    ended = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True)
    return ended.stdout.splitlines() if ended.returncode == 0 else []


class ReleaseTests(SynchronousTestCase):
    def test_tag_and_changes(self) -> None:
        """A commit with a tag of a version has that version, and the day of it in CHANGELOG.rst."""
        _, _, _, title, *_ = (PROJECT / "CHANGELOG.rst").read_text().splitlines()
        tags = git("tag", "--points-at", "HEAD", "--list", "v*")
        if tags:
            self.assertEqual(tags, [f"v{__version__}"])
        when = r"\d{4}-\d\d-\d\d" if tags else r"unreleased|\d{4}-\d\d-\d\d"
        self.assertRegex(title, rf"^{re.escape(__version__)} \(({when})\)$")

    def test_files(self) -> None:
        """The source distribution has all that the repository has; the wheel was built from it."""
        self.assertEqual(
            {path.name for path in RELEASE.iterdir()},
            {f"scfd-{__version__}.tar.gz", f"scfd-{__version__}-py3-none-any.whl"},
        )
        with tarfile.open(RELEASE / f"scfd-{__version__}.tar.gz") as opened:
            names = {name.partition("/")[2] for name in opened.getnames()}
        self.assertEqual(set(git("ls-files")) - names, {".gitignore"} if git("ls-files") else set())

    def test_long_description(self) -> None:
        """A package index has no files beside it."""
        with zipfile.ZipFile(RELEASE / f"scfd-{__version__}-py3-none-any.whl") as opened:
            metadata = message_from_bytes(opened.read(f"scfd-{__version__}.dist-info/METADATA"))
        text = str(metadata.get_payload())
        links = re.findall(r"<([^\s<>]+)>`_|^\.\. image:: (\S+)", text, re.MULTILINE)
        self.assertGreater(len(links), 20)
        self.assertEqual([link for link in map("".join, links) if not link.startswith("https://")], [])
