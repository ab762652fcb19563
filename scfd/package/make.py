"""The way of a package, from a config to a zip that has been proved."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from scfd import config
from scfd.config import Config
from scfd.config.findings import Findings
from scfd.errors import ConfigError, StartupError
from scfd.package import contents, demands
from scfd.package.imports import imported
from scfd.package.needs import needs_of
from scfd.package.proof import prove, scf_variables
from scfd.package.target import Target
from scfd.package.wheels import Wheels, read_requirements


@frozen
class Order:
    """
    What is to be packed.

    :ivar include: files and folders of the plugin.
    :ivar requirements: a requirements file of the plugin; None for no more than scfd needs.
    :ivar verify: whether to boot the package.
    """

    config: Path
    output: Path
    target: Target
    include: Sequence[Path] = ()
    requirements: Path | None = None
    verify: bool = True


def make(order: Order, environ: Mapping[str, str], say: Callable[[str], object]) -> None:
    """
    Write a package, if nothing is wrong with it.

    :param environ: where the config's variables are taken from; none of them gets into the package.
    :param say: is told what is happening, a line at a time.
    :raises StartupError: with all that keeps it from running on SCF.
    """
    say(f"reading {order.config}")
    if not os.access(order.output.parent, os.W_OK) or order.output.is_dir():
        raise StartupError(f"--output {order.output}: expected a path where a zip can be written")
    loaded = load(order.config, environ)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    for key in loaded.origin.secrets:
        say(f"warning: {key}: its secret is in the config, and so in the package; expected ${{NAME}}")
    _refuse(demands.check_config(loaded))
    asked, needs = read_requirements(order.requirements), needs_of(loaded)
    with tempfile.TemporaryDirectory(prefix="scfd-package-") as scratch:
        folder, wheels = Path(scratch, "package"), Path(scratch, "wheels")
        wheels.mkdir()
        _add_function(order, loaded, folder, say)
        found = Wheels(order.target, needs, asked, wheels, say).collect()
        say(f"putting scfd and {len(found)} distributions together")
        for wheel in found:
            contents.add_wheel(folder, wheel, needs)
        contents.add_scfd(folder, needs)
        _refuse(demands.check_packages(folder, loaded))
        _compile(order.target, folder, say)
        _finish(order, loaded, folder, environ, say)
    for sentence in needs.sentences():
        say(sentence)


def _add_function(order: Order, loaded: Config, folder: Path, say: Callable[[str], object]) -> None:
    """Add what is the user's, and what starts it; what is wrong there is said before anything is fetched."""
    root = _root(order.config, loaded)
    included = _included(order, loaded, root)
    if found := imported(root, included):
        said = ", ".join(str(path.relative_to(root)) for path in found)
        say(f"including {said}, which other files of the function import")
        included += found
    # Before anything is copied.
    files = {file for path in included for file in contents.listed(path) if file.is_file()}
    _refuse(demands.check_size(loaded, sum(file.stat().st_size for file in files)))
    contents.add_included(folder, root, included, order.output)
    name = os.path.relpath(order.config, root)
    if not contents.add_bootstrap(folder, order.target, name):
        say(f"taking {contents.BOOTSTRAP} as it is included")
    _refuse(demands.check_files(folder, loaded, order.target))
    for file in demands.private_keys(folder):
        say(f"warning: {file}: a private key, readable by whoever gets the package")


def _compile(target: Target, folder: Path, say: Callable[[str], object]) -> None:
    python = target.local()
    if python is None:
        text = f"not compiled: this machine has no Python {target.version}"
        say(f"{text}, so the first start on SCF takes seconds longer")
    else:
        say(f"compiling for Python {target.version}")
        contents.compile_all(folder, python)


def _finish(
    order: Order, loaded: Config, folder: Path, environ: Mapping[str, str], say: Callable[[str], object]
) -> None:
    files = contents.files_of(folder)
    size = sum(path.stat().st_size for path in files)
    _refuse(demands.check_size(loaded, size))
    part = order.output.with_name(f"{order.output.name}.part")
    try:
        with _writing(order.output):
            contents.write_zip(folder, part)
        if order.verify:
            say(prove(part, loaded, order.target, environ))
        with _writing(order.output):
            part.replace(order.output)
    finally:
        part.unlink(missing_ok=True)
    unpacked = f"{size / 1e6:.1f} MB and {len(files)} files unpacked"
    say(f"{order.output}: {order.output.stat().st_size / 1e6:.1f} MB, {unpacked}, {order.target}")


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"--output {output}: {error.strerror}; expected a path where a zip can be written"
        raise StartupError(text) from None


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """:raises ConfigError: with what is wrong with it on SCF. ``PORT`` of this machine does not count."""
    variables = {name: value for name, value in environ.items() if name != "PORT"} | scf_variables()
    if "${PORT" in (path.read_text(errors="replace") if path.is_file() else ""):
        variables["PORT"] = "9000"
    return config.load(str(path), variables)


def _refuse(found: Findings) -> None:
    if found.mistakes:
        raise ConfigError(found.mistakes)


def _root(path: Path, loaded: Config) -> Path:
    """
    The folder that becomes the package's: the one in which the config's paths are right.

    That is the working directory, as for `scfd run`, unless they are found beside the config alone.
    """
    here, beside = Path.cwd(), path.absolute().parent
    if not Path(os.path.normpath(beside)).is_relative_to(here):
        return beside
    named = _named(loaded)
    only_beside = [name for name in named if not (here / name).exists() and (beside / name).exists()]
    return beside if only_beside else here


def _named(loaded: Config) -> list[str]:
    """Paths that the config names, and such as its plugin may have."""
    named = [
        demands.in_package(path) for _, path in demands.named_paths(loaded) if demands.is_of_package(path)
    ]
    http = loaded.adapter.http
    if http is None:
        named += ["twisted/plugins", "scfd/plugins"]
    elif module := demands.module_of(loaded).replace(".", "/"):
        home = demands.in_package(http.cwd or ".")
        named += [f"{home}/{module}.py", f"{home}/{module}"]
    return named


def _included(order: Order, loaded: Config, root: Path) -> list[Path]:
    """The config, what it names, and what the user includes."""
    named = [root / name for name in _named(loaded)]
    found = [order.config.absolute(), *(path for path in named if path.exists())]
    for path in order.include:
        found.append((path if os.path.lexists(path) else root / path).absolute())
    return found
