"""
Installs the project in new environments, each way a user may, and uses what got installed. What the README
has one type is typed as it stands there, on the ports that it names.

Not among the tests that `trial tests` runs: it needs a package index and takes some minutes.
``make check-install`` runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from scfd import __version__

PROJECT = Path(__file__).resolve().parent.parent
#: What a developer's checkout has that a fresh clone has not.
NOT_IN_A_CLONE = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "_trial_temp*", ".*_cache", "dropin.cache"
)
#: With PYTHONPATH the checkout would be found, however badly it was installed; make hands its variables down.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAKE", "VENV"))
}
#: So that ``python3`` is the one that runs this.
ENVIRONMENT["PATH"] = f"{sys.base_prefix}/bin{os.pathsep}{ENVIRONMENT['PATH']}"
#: Seconds: an installation, and a node that has begun to report.
PATIENCE = 600
#: What is indented after a double colon, and is typed into a shell.
TYPED = re.compile(
    r"(?:::|\.\. code-block:: sh)\n\n"
    r"((?:    (?:make|curl|cd|\.|python3?|pip|scfd|\.venv/bin/scfd|#) .*\n)+)\n"
)


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


@contextmanager
def typed(text: str, *, until: str, cwd: Path, environment: dict[str, str] = ENVIRONMENT) -> Iterator[None]:
    """
    A shell's commands, of which the last one goes on until ctrl-C ends it.

    :param until: what that prints before the body of the ``with`` statement is run.
    :raises AssertionError: with all that was printed, when that is not, or the last command ends otherwise.
    """
    with tempfile.TemporaryFile("w+") as output:
        shell = subprocess.Popen(
            ["bash", "-ec", text],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def said() -> str:
            return os.pread(output.fileno(), 1 << 20, 0).decode()

        try:
            deadline = time.monotonic() + PATIENCE
            while until not in said():
                assert shell.poll() is None and time.monotonic() < deadline, f"no {until!r} in:\n{said()}"
                time.sleep(0.1)
            yield
            os.killpg(shell.pid, signal.SIGINT)
            # make itself dies of it, after what it has run.
            status = shell.wait(30)
            assert status in (0, -signal.SIGINT) and "stopped" in said(), f"status {status}:\n{said()}"
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()


class InstallTestCase(SynchronousTestCase):
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

    def wheel(self) -> Path:
        self.pip("wheel", "--no-deps", "--wheel-dir", self.elsewhere, self.clone)
        [wheel] = self.elsewhere.glob("scfd-*.whl")
        return wheel

    def pip(self, *arguments: str | Path) -> None:
        run(self.bin / "pip", "--disable-pip-version-check", *arguments, cwd=self.elsewhere)


class InstallTests(InstallTestCase):
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
        wheel = self.wheel()
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


class ReadmeTests(InstallTestCase):
    """README.rst, word for word, but for ``make test``, which whoever runs this runs anyway."""

    def setUp(self) -> None:
        super().setUp()
        page = (PROJECT / "README.rst").read_text()
        self.demo, *self.meanwhile, self.pip_alone, self.own, self.hello = map(
            textwrap.dedent, TYPED.findall(page)
        )
        self.assertRegex(self.demo, "^make run .*\nmake test .*\n$")
        self.assertEqual([block.split()[0] for block in self.meanwhile], [".venv/bin/scfd"] * 3)

    def test_in_a_clone(self) -> None:
        make_run, _ = self.demo.splitlines()
        with typed(make_run, until="rolling means: ", cwd=self.clone):
            for block in self.meanwhile:
                run("bash", "-ec", block, cwd=self.clone)
        with typed(f". .venv/bin/activate\n{self.hello}", until="task results are delivered", cwd=self.clone):
            pass

    def test_with_pip_alone(self) -> None:
        """In an empty environment; as if the index had the wheel that is built here."""
        links = f"{self.wheel().parent} {ENVIRONMENT.get('PIP_FIND_LINKS', '')}"
        environment = {**ENVIRONMENT, "PIP_FIND_LINKS": links}
        folder = self.elsewhere / "empty"
        folder.mkdir()
        lines = f"{self.pip_alone}\n{self.own}"
        with typed(lines, until="task results are delivered", cwd=folder, environment=environment):
            pass
