"""Proves a package: unpacks it, boots it where it can do no harm, and looks what it left."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from scfd.config import Config
from scfd.errors import StartupError
from scfd.package import boot
from scfd.package.contents import BOOTSTRAP, files_of
from scfd.package.target import Target

#: Seconds to start, on top of what the plugin may take.
_PATIENCE = 30.0
#: Lines of the node's log that are shown when it fails.
_LINES = 20


def prove(package: Path, config: Config, target: Target, environ: Mapping[str, str]) -> str:
    """
    :param environ: where the variables are that the config names.
    :returns: a sentence of what was seen, or why this was left out.
    :raises StartupError: the package does not boot, or does not stop as it should.
    """
    python = target.local()
    if python is None:
        return (
            f"not booted: this machine has no Python {target.version}; expected one, to see the package "
            "start and stop"
        )
    command = _isolation()
    if command is None:
        return (
            "not booted: this machine lets no namespaces be made (unshare), and without one the node "
            "would reach its control plane and streams"
        )
    scratch = Path(tempfile.mkdtemp(prefix="scfd-package-", dir="/tmp"))
    try:
        scratch.chmod(0o755)
        folder = scratch / "user"
        _unpack(package, folder)
        told = ""
        if not os.access(target.interpreter, os.X_OK):
            path = folder / BOOTSTRAP
            path.write_text(path.read_text().replace(target.interpreter, python))
            told = f", with {python} in place of {target.interpreter}"
        seconds = _boot(command, folder, scratch, config, python, environ)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return f"booted, read-only{told}: healthy after {seconds:.2f} s, SIGTERM ended it with status 0"


def _isolation() -> list[str] | None:
    for options in ((), ("--user", "--map-root-user")):
        command = ["unshare", *options, "--net", "--mount"]
        try:
            if (
                subprocess.run(
                    [*command, "mount", "--bind", "/tmp", "/tmp"], stderr=subprocess.DEVNULL, timeout=30
                ).returncode
                == 0
            ):
                return command
        except (OSError, subprocess.TimeoutExpired):
            return None
    return None


def _unpack(package: Path, folder: Path) -> None:
    with zipfile.ZipFile(package) as opened:
        for entry in opened.infolist():
            path = Path(opened.extract(entry, folder))
            path.chmod(entry.external_attr >> 16 & 0o777)


def _boot(
    command: list[str], folder: Path, scratch: Path, config: Config, python: str, environ: Mapping[str, str]
) -> float:
    before = files_of(folder)
    ready = config.adapter.http.ready_timeout if config.adapter.http is not None else 0
    arguments = {
        "folder": str(folder),
        "interpreter": python,
        "environ": _environment(folder, scratch, config, environ),
        "patience": _PATIENCE + ready,
        "drain": config.shutdown.drain + _PATIENCE,
    }
    ran = subprocess.run(
        [*command, sys.executable, "-I", boot.__file__, json.dumps(arguments)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    problem = lines[-1].get("problem", "was cut off") if lines else "could not be tried"
    if not problem and files_of(folder) != before:
        problem = "wrote into its own folder, which is read-only on SCF"
    if problem:
        log = "\n".join(f"    {line}" for line in ran.stderr.splitlines()[-_LINES:])
        raise StartupError(f"the package does not boot: {problem}; the last lines of its log:\n{log}")
    return float(lines[0]["healthy"])


def _environment(folder: Path, scratch: Path, config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """SCF's, and the variables that the config names."""
    state = scratch / "state"
    state.mkdir()
    state.chmod(0o777)
    named = re.findall(r"\$\{(\w+)", Path(config.path).read_text())
    return {
        **{name: environ[name] for name in named if name in environ},
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "SCF_RUNTIME": "Python3.10",
        "SCF_FUNCTIONNAME": config.system.name or "function",
        "SCF_FUNCTIONVERSION": "$LATEST",
        **scf_variables(),
        "USER_CODE_ROOT": f"{folder}/",
        "PYTHONPATH": f"{folder}:/opt",
        # Not the folder of a node that runs on this machine.
        "STATE_DIRECTORY": str(state),
    }


def scf_variables() -> dict[str, str]:
    """Those that SCF sets for every function."""
    return {
        "TENCENTCLOUD_REGION": "ap-guangzhou",
        "TENCENTCLOUD_APPID": "1250000000",
        "TENCENTCLOUD_UIN": "100000000000",
        "TENCENTCLOUD_TZ": "UTC",
        "TENCENTCLOUD_RUNENV": "SCF",
        "TENCENTCLOUD_SECRETID": "temporary",
        "TENCENTCLOUD_SECRETKEY": "temporary",
        "TENCENTCLOUD_SESSIONTOKEN": "temporary",
    }
