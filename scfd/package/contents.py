"""Puts the files of a package together in a folder: scfd, its dependencies, config and plugin."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import scfd
from scfd.errors import StartupError
from scfd.package.needs import Needs
from scfd.package.target import Target
from scfd.package.wheels import Wheel

#: Where scfd and all distributions are in the package.
PACKAGES = "packages"
BOOTSTRAP = "scf_bootstrap"
#: Runs the node. A file of its own: `python -m` would look for every module among the plugin's files first.
START = f"{PACKAGES}/start.py"
#: See `scfd.prepared`.
PREPARED = f"{PACKAGES}/prepared.bin"
_START = """import gc

gc.disable()  # from the first import on; `scfd.start` turns it on again

import os, sys

PREPARED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prepared.bin")
if os.path.exists(PREPARED):
    from scfd.prepared import use

    use(PREPARED)

from scfd.start import run

sys.exit(run(sys.argv[1]))
"""
#: Where Python may write compiled modules, if the package has none.
_CACHE = "PYTHONPYCACHEPREFIX=/tmp/scfd-pycache"
_NO_CACHE = "PYTHONDONTWRITEBYTECODE=1"
#: What an included folder has that no function needs.
_NOT_OF_A_FUNCTION = re.compile(
    r"\..*|__pycache__|.*\.py[co]|dropin\.cache|twistd\.pid|.*\.egg-info|_trial_temp.*"
)
#: Parts of scfd for developers.
_OF_SCFD = re.compile(r"scfd/(dev|testing|package|cli/projects|pytest_plugin\.py)(/|$)")
#: What is not needed to run: tests, sources in C, stubs, and what installers note.
_OF_WHEELS = re.compile(
    r"(.*/)?(tests?|newsfragments)/.*|.*\.(pyi|pyx|pxd|c|h|orig)|.*\.dist-info/(RECORD|WHEEL)"
)
#: Protocols of Twisted that scfd does not speak.
_OF_TWISTED = re.compile(r"twisted/(conch|mail|names|pair|positioning|runner|trial|words)/.*")


def add_scfd(folder: Path, needs: Needs) -> None:
    """Add scfd without its parts for developers, and ``scf_log`` where the config has a use for it."""
    home = Path(scfd.__file__).parent
    packages = [home, home.parent / "scf_log"] if "cls" in needs.extras else [home]
    for package in packages:
        for path in sorted(package.rglob("*")):
            name = f"{PACKAGES}/{path.relative_to(home.parent)}"
            if path.is_file() and not _is_left_out(path.relative_to(home.parent)):
                _copy(path, folder / name)
    _write(folder / START, _START)


def _is_left_out(path: Path) -> bool:
    """:param path: of scfd's, from the folder that it is in."""
    return any(map(_NOT_OF_A_FUNCTION.fullmatch, path.parts)) or _OF_SCFD.match(str(path)) is not None


def add_wheel(folder: Path, wheel: Wheel, needs: Needs) -> None:
    """Unpack a wheel, as pip would install it."""
    with zipfile.ZipFile(wheel.path) as opened:
        for entry in opened.infolist():
            # Such as numpy-2.0.data/purelib/numpy/…; scripts would name a Python of this machine.
            parts = re.fullmatch(r"[^/]+\.data/(\w+)/(.*)", entry.filename)
            name = parts[2] if parts else entry.filename
            if entry.is_dir() or (parts and parts[1] not in ("purelib", "platlib")):
                continue
            if wheel.locked and _OF_WHEELS.fullmatch(name):
                continue
            if wheel.name == "twisted" and not needs.whole_twisted and _OF_TWISTED.fullmatch(name):
                continue
            path = Path(os.path.normpath(folder / PACKAGES / name))
            if not path.is_relative_to(folder / PACKAGES):
                raise StartupError(
                    f"{wheel.path.name}: it has a file {entry.filename}, outside of its folder"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(opened.read(entry))


def add_included(folder: Path, root: Path, paths: Iterable[Path], output: Path) -> None:
    """
    Add files and folders at the place that they have below the root.

    :param output: the package, which may be in one of these folders.
    :raises StartupError: one is missing, outside of the root, or in the way of the package's own.
    """
    for path in paths:
        for file in listed(path):
            if file.exists() and output.exists() and file.samefile(output):
                continue
            name = os.path.relpath(file, root)
            if name.partition(os.sep)[0] in ("..", PACKAGES):
                wrong = f"in {PACKAGES}/, which is scfd's" if name[0] != "." else f"outside of {root}"
                raise StartupError(f"--include {path}: {file} is {wrong}; expected files of the function")
            _copy(file, folder / name)


def listed(path: Path) -> Iterator[Path]:
    if not os.path.lexists(path):
        raise StartupError(f"--include {path}: no such file; expected a file or folder of the plugin")
    if not path.is_dir():
        yield path
        return
    for parent, folders, files in os.walk(path, followlinks=True):
        for name in folders:
            if Path(parent).resolve().is_relative_to(link := Path(parent, name).resolve()):
                raise StartupError(
                    f"{parent}/{name}: a link to {link}, which it is in; expected no such link"
                )
        folders[:] = sorted(name for name in folders if not _NOT_OF_A_FUNCTION.fullmatch(name))
        yield from (Path(parent, name) for name in sorted(files) if not _NOT_OF_A_FUNCTION.fullmatch(name))


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not source.is_file():
            kind = "a link to nowhere" if source.is_symlink() else "no regular file"
            raise StartupError(f"{source}: {kind}; expected files and folders in a package")
        shutil.copyfile(source, to)
        to.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
    except OSError as error:
        raise StartupError(f"{source}: {error.strerror}; expected a file that can be read") from None


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)


def add_bootstrap(folder: Path, target: Target, config: str) -> bool:
    """
    :param config: its path in the package.
    :returns: False where the plugin's files have a bootstrap of their own, which stays.
    """
    if (folder / BOOTSTRAP).exists():
        return False
    # SCF does not set it. Only where the config asks: a plugin might take it for its own.
    port = "export PORT=9000\n" if "${PORT" in (folder / config).read_text() else ""
    text = f"""#!/bin/bash
# Starts the node. The plugin's `python3` is the Python of this folder, too.
[[ ${{BASH_SOURCE[0]}} != */* ]] || cd "${{BASH_SOURCE[0]%/*}}" || exit 1
export PATH="{os.path.dirname(target.interpreter)}:$PATH"
export PYTHONPATH="$PWD/{PACKAGES}:$PWD${{PYTHONPATH:+:$PYTHONPATH}}"
{port}export {_CACHE if target.local() is None else _NO_CACHE}
exec {target.interpreter} {START} {shlex.quote(config)}
"""
    _write(folder / BOOTSTRAP, text, 0o755)
    return True


def compile_all(folder: Path, python: str) -> None:
    """
    Compile every module, to be taken without a look at its source's time, which unpacking may change.

    :param python: a Python of this machine that is the target's.
    """
    program = (
        "import compileall, py_compile, sys\n"
        "compileall.compile_dir(sys.argv[1], maxlevels=99, quiet=2, force=True, stripdir=sys.argv[1],\n"
        "  prependdir='/var/user', invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
    )
    # A set of constants is written in the order of its hashes.
    environ = {"PYTHONHASHSEED": "0", "PATH": os.defpath, "PYTHONPATH": str(folder / PACKAGES)}
    command = [python, "-s", "-W", "ignore", "-c"]
    subprocess.run([*command, program, str(folder)], env=environ, check=True, timeout=600)
    program = (
        "import pathlib, sys; from scfd.prepared import note; pathlib.Path(sys.argv[1]).write_bytes(note())"
    )
    subprocess.run([*command, program, str(folder / PREPARED)], env=environ, check=True, timeout=600)


def write_zip(folder: Path, output: Path) -> None:
    """The same bytes for the same files: sorted, with one date, and one of two modes."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for path in files_of(folder):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix: the modes count
            entry.external_attr = (stat.S_IFREG | path.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, path.read_bytes())


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, sorted by their names."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=str)
