"""Gets scfd's dependencies, and those of the plugin, as wheels for another Python than the one at work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

from attrs import Factory, define, evolve, field, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from scfd.errors import StartupError
from scfd.package.needs import Needs
from scfd.package.target import PLATFORM, Target

#: Releases and hashes with which scfd's tests pass.
LOCK = Path(__file__).with_name("node.txt")
#: Seconds for one run of pip.
_PIP_TIMEOUT = 600
#: Options of a requirements file that say where packages come from.
_SOURCES = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index", "--trusted-host")


@frozen
class Wheel:
    """
    :ivar name: the distribution's, in canonical form.
    :ivar requires: what its metadata asks for.
    :ivar locked: whether it is one of scfd's own dependencies, of which is known what they can go without.
    """

    path: Path
    name: str
    version: str
    requires: tuple[Requirement, ...]
    locked: bool = False

    @classmethod
    def at(cls, path: Path) -> Wheel:
        name, version, _, _ = parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as opened:
            inside = next(
                each for each in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each)
            )
            headers = HeaderParser().parsestr(opened.read(inside).decode())
        requires = tuple(map(Requirement, headers.get_all("Requires-Dist") or ()))
        return cls(path, name, str(version), requires)


@frozen
class Asked:
    """
    What the user's requirements file asks for.

    :ivar hashes: pip's options of those that have hashes, by canonical name.
    :ivar others: paths and URLs, which only pip understands.
    :ivar sources: pip's options that say where packages come from.
    """

    path: Path | None = None
    requirements: tuple[Requirement, ...] = ()
    hashes: Mapping[str, str] = Factory(dict)
    others: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def read_requirements(path: Path | None) -> Asked:
    """:raises StartupError: when it can't be read, or has what a package can't have."""
    if path is None:
        return Asked()
    requirements, others, sources = [], [], []
    hashes: dict[str, str] = {}
    try:
        lines = _logical_lines(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"--requirements {path}: {getattr(error, 'strerror', error)}") from None
    for line in lines:
        words = line.split()
        if words[0].partition("=")[0] in _SOURCES:
            sources.append(line)
        elif words[0].startswith("-"):
            raise StartupError(f"--requirements {path}: found {line!r}; expected names, paths and versions")
        elif re.match(r"[./]|\w+://", line):
            # Absolute: pip takes `thing` for a name, and ./thing for a path.
            others.append(str((path.parent / line).absolute()) if line[0] == "." else line)
        else:
            try:
                head, separator, rest = line.partition(" --hash")
                requirements.append(requirement := Requirement(head))
                if rest:
                    hashes[canonicalize_name(requirement.name)] = separator + rest
            except InvalidRequirement:
                text = f"found {line!r}; expected a requirement, such as requests==2.32.0"
                raise StartupError(f"--requirements {path}: {text}") from None
    return Asked(path, tuple(requirements), hashes, tuple(others), tuple(sources))


def _logical_lines(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


@define
class _Wanted:
    """What all that ask for a distribution want of it."""

    specifier: SpecifierSet = Factory(SpecifierSet)
    extras: set[str] = Factory(set)
    by: list[str] = Factory(list)


@define
class Wheels:
    """
    The wheels of one package.

    :ivar folder: where they are put.
    :ivar say: is told what is happening, a line at a time.
    """

    target: Target
    needs: Needs
    asked: Asked
    folder: Path
    say: Callable[[str], object]
    found: dict[str, Wheel] = Factory(dict)
    _locked: Mapping[str, Pin] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._locked = locked(self.target.markers())

    def collect(self) -> list[Wheel]:
        """
        Download what scfd and the plugin need, and what that needs, until nothing is missing.

        :raises StartupError: when there is no wheel for the target.
        """
        folders = [Path(other) for other in self.asked.others if os.path.isdir(other)]
        self._download(other for other in self.asked.others if Path(other) not in folders)
        for folder in folders:
            self._add(self._built(folder))
        roots = [*self.asked.requirements, *map(Requirement, self.found)]
        while missing := sorted((wanted := self._wanted(roots)).keys() - self.found.keys()):
            self.say(f"getting {', '.join(missing)}")
            pinned, free = [], []
            for name in missing:
                pin, specifier = self._locked.get(name), wanted[name].specifier
                if name in self.asked.hashes:
                    pinned.append(f"{name}{specifier}{self.asked.hashes[name]}")
                elif pin is not None and specifier.contains(pin.version, prereleases=True):
                    pinned.append(pin.line)
                else:
                    free.append(f"{name}{specifier}")
            self._download(pinned, "--require-hashes")
            self._download(free)
            self._check_found(missing)
        self._check_versions(wanted)
        return [self.found[name] for name in sorted(self.found)]

    def _wanted(self, roots: Sequence[Requirement]) -> dict[str, _Wanted]:
        """
        :param roots: what the plugin requires.
        :returns: all distributions that are asked for, as far as is known.
        """
        wanted: dict[str, _Wanted] = {}
        scfd = Requirement(f"scfd[{','.join(sorted(self.needs.extras))}]")
        todo = [(scfd, frozenset[str](), "the config")]
        todo += [(each, frozenset(), str(self.asked.path)) for each in roots]
        requires = {wheel.name: wheel.requires for wheel in self.found.values()}
        requires["scfd"] = tuple(map(Requirement, metadata.requires("scfd") or ()))
        by_name = {canonicalize_name(each.name) for each in roots}
        seen = set()
        while todo:
            requirement, extras, by = todo.pop()
            name: str = canonicalize_name(requirement.name)
            left_out = name in self.needs.without and name not in by_name
            if left_out or not _applies(requirement, extras, self.target.markers()):
                continue
            wants = wanted.setdefault(name, _Wanted())
            wants.specifier &= requirement.specifier
            wants.by.append(by)
            inner = frozenset(requirement.extras)
            if name == "twisted" and not self.needs.tls:
                inner -= {"tls"}
            if (name, inner) not in seen:
                seen.add((name, inner))
                todo += [(each, inner, name) for each in requires.get(name, ())]
        del wanted["scfd"]
        return wanted

    def _download(self, lines: Iterable[str], *options: str) -> None:
        lines = list(lines)
        if not lines:
            return
        names = ", ".join(re.split(r"[\s;]", line)[0] for line in lines)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder, "requirements.txt")
            file.write_text("\n".join([*self.asked.sources, *lines]) + "\n")
            how = ["--no-deps", "--prefer-binary", "--dest", folder, "--requirement", str(file)]
            how += ["--platform", PLATFORM, "--implementation", "cp"]
            how += ["--python-version", self.target.version]
            _pip(names, self.target, "download", *how, *options)
            for path in sorted(Path(folder).iterdir()):
                if path != file:
                    self._add(path if path.suffix == ".whl" else self._built(path))

    def _add(self, path: Path) -> None:
        wheel = Wheel.at(path)
        moved = path.rename(self.folder / path.name)
        self.found[wheel.name] = evolve(wheel, path=moved, locked=wheel.name in self._locked)

    def _built(self, source: Path) -> Path:
        """:returns: the wheel of a distribution that has its source alone."""
        self.say(f"building a wheel of {source.name}")
        into = self.folder / f"built {source.name}"
        _pip(source.name, self.target, "wheel", "--no-deps", "--wheel-dir", str(into), str(source))
        built = next(into.iterdir())
        if not built.name.endswith("-none-any.whl"):
            raise StartupError(
                f"{source.name}: there is no wheel for {self.target}, and none can be built here, since it "
                "is not in Python alone; expected a release that has one, or your own wheel in --requirements"
            )
        return built

    def _check_found(self, names: Iterable[str]) -> None:
        if lost := [name for name in names if name not in self.found]:
            raise StartupError(f"{', '.join(lost)}: pip has downloaded something of another name")

    def _check_versions(self, wanted: Mapping[str, _Wanted]) -> None:
        for name, wants in sorted(wanted.items()):
            if not wants.specifier.contains(self.found[name].version, prereleases=True):
                asking = f"{', '.join(sorted(set(wants.by)))} ask for {wants.specifier}"
                raise StartupError(
                    f"{name}: found {self.found[name].version}, and {asking}; "
                    "expected a version in --requirements that fits all"
                )


@frozen
class Pin:
    """A release of the lock, and its line for pip."""

    version: str
    line: str


def locked(markers: Mapping[str, str]) -> dict[str, Pin]:
    """The releases of the lock that are for the target, by canonical name."""
    pins: dict[str, Pin] = {}
    for line in _logical_lines(LOCK.read_text()):
        head, _, hashes = line.partition(" --hash")
        requirement = Requirement(head)
        if requirement.marker is None or requirement.marker.evaluate(dict(markers)):
            version = next(iter(requirement.specifier)).version
            name = canonicalize_name(requirement.name)
            # Without its marker: pip would ask whether it is true of the Python at work.
            pins[name] = Pin(version, f"{name}=={version} --hash{hashes}")
    return pins


def _applies(requirement: Requirement, extras: frozenset[str], markers: Mapping[str, str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**markers, "extra": extra}) for extra in ("", *extras))


def _pip(names: str, target: Target, *arguments: str) -> None:
    """:raises StartupError: with pip's own reason."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        *arguments,
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise StartupError(f"{names}: no download within {_PIP_TIMEOUT} s; expected an index") from None
    if ran.returncode == 0:
        return
    if "No module named pip" in ran.stderr:
        raise StartupError("pip is missing here, which downloads; expected it: python -m ensurepip")
    lines = [line.strip() for line in ran.stderr.splitlines()]
    errors = [line for line in lines if line.lower().startswith("error: ")] or lines[-1:]
    reason = errors[-1][7:] if errors else f"pip ended with status {ran.returncode}"
    raise StartupError(f"{reason.rstrip('.')} ({names}); expected a wheel for {target} in the package index")
