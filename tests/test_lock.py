"""The locked releases: what `make lock` writes covers what setup.cfg asks for."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
#: Each file, and the extras it has.
FILES = {
    "node": ("nkeys", "cls"),
    "dev": ("nkeys", "cls", "dev"),
    "test": ("nkeys", "cls", "dev", "test"),
    "bench": ("bench",),
}


def names(text: str) -> set[str]:
    """Distributions at the beginning of lines, as the package index spells them."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)", text, re.MULTILINE)
    return {re.sub("[-_.]+", "-", name).lower() for name in found}


class LockTests(SynchronousTestCase):
    def test_everything_is_locked(self) -> None:
        """Else `make lock` is due."""
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        for file, extras in FILES.items():
            wanted = setup["options"]["install_requires"]
            wanted += "".join(setup["options.extras_require"][extra] for extra in extras)
            locked = (ROOT / f"requirements/{file}.txt").read_text()
            self.assertEqual(names(wanted) - names(locked), set(), file)

    def test_hashes_and_no_addresses(self) -> None:
        """Each release has hashes, the files agree, and none names an index of somebody's own."""
        pins = {}
        for file in FILES:
            text = (ROOT / f"requirements/{file}.txt").read_text()
            self.assertNotIn("://", text)
            self.assertNotIn("index-url", text)
            releases = re.findall(
                r"^(\S+==\S+.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M
            )
            self.assertEqual(len(releases), len(re.findall(r"^\S+==", text, re.M)))
            # On which systems a release is wanted depends on what else is.
            pins[file] = {release.partition(" ;")[0]: hashes for release, hashes in releases}
        for file in ("node", "dev"):
            self.assertLessEqual(pins[file].items(), pins["test"].items())
