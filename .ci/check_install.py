"""
Installs the project in new environments, each way a user may, and uses what got installed.

Not among the tests that `trial tests` runs: it needs a package index and takes the better part of a
minute. ``make check-install`` runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd import __version__

PROJECT = Path(__file__).resolve().parent.parent
#: What a developer's checkout has that a fresh clone has not.
NOT_IN_A_CLONE = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "_trial_temp*", ".*_cache", "dropin.cache"
)
#: With PYTHONPATH the checkout would be found, however badly it was installed.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> str:
    """
    What a command prints.

    :raises AssertionError: with all that it printed, when its exit status is not 0.
    """
    ended = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if ended.returncode != 0:
        line = " ".join(str(word) for word in command)
        raise AssertionError(f"status {ended.returncode} from {line}\n{ended.stdout}{ended.stderr}")
    return ended.stdout


class InstallTests(SynchronousTestCase):
    """
    :ivar clone: a copy of the project, so that nothing is built in the checkout.
    :ivar elsewhere: an empty folder, in which no import finds the project by accident.
    :ivar bin: the commands of a new environment.
    """

    def setUp(self) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="scfd-install-"))
        self.addCleanup(shutil.rmtree, scratch)
        self.clone = shutil.copytree(PROJECT, scratch / "clone", ignore=NOT_IN_A_CLONE)
        self.elsewhere = scratch / "elsewhere"
        self.elsewhere.mkdir()
        run(sys.executable, "-m", "venv", scratch / "venv", cwd=self.elsewhere)
        self.bin = scratch / "venv" / "bin"

    def pip(self, *arguments: str | Path) -> None:
        run(self.bin / "pip", "--disable-pip-version-check", *arguments, cwd=self.elsewhere)

    def check_commands(self) -> None:
        """Both commands work, and go without a trace of them in Twisted."""
        self.assertIn("\n    scfd ", self.twistd("--help"))
        self.assertIn("--config", self.twistd("scfd", "--help"))
        self.assertIn(__version__, run(self.bin / "scfd", "--version", cwd=self.elsewhere))
        self.pip("uninstall", "--yes", "scfd")
        commands = self.twistd("--help")
        self.assertNotIn("scfd", commands)
        self.assertIn("\n    web ", commands)
        self.assertFalse((self.bin / "scfd").exists())

    def twistd(self, *arguments: str) -> str:
        return run(self.bin / "twistd", *arguments, cwd=self.elsewhere)

    def test_from_the_source(self) -> None:
        self.pip("install", self.clone)
        self.check_commands()

    def test_editable(self) -> None:
        self.pip("install", "--editable", self.clone)
        self.check_commands()

    def test_wheel(self) -> None:
        """The wheel has the packages and the one plugin file, nothing of the tests, nothing of Twisted's."""
        self.pip("wheel", "--no-deps", "--wheel-dir", self.elsewhere, self.clone)
        [wheel] = self.elsewhere.glob("scfd-*.whl")
        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        self.assertEqual(
            {name for name in names if not name.startswith(("scfd/", "scf_log/"))},
            {"twisted/plugins/scfd_dropin.py"},
        )
        expected = {
            str(path.relative_to(self.clone))
            for path in (self.clone / "scfd").rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        self.assertEqual({name for name in names if name.startswith("scfd/")}, expected)
        self.pip("install", wheel)
        self.check_commands()

    def test_as_a_newcomer(self) -> None:
        """What docs/first-function.rst has one type to install it, and what comes next."""
        page = (PROJECT / "docs/first-function.rst").read_text()
        typed, _, _ = page.partition("    cd disk-space")
        blocks = re.findall(r"\.\. code-block:: sh\n\n((?:    .*\n)+)", typed)
        self.assertEqual(len(blocks), 2)
        (self.elsewhere / "scfd").symlink_to(self.clone)
        lines = [
            *map(textwrap.dedent, blocks),
            "cd disk-space\n",
            "python -m unittest\n",
            "python -c 'import watchfiles'\n",
        ]
        run("sh", "-ec", "".join(lines), cwd=self.elsewhere)
