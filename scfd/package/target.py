"""For which Python a package is made."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from attrs import frozen

from scfd.errors import StartupError

#: Wheels that SCF's images can load: CentOS 7.9 and newer.
PLATFORM = "manylinux2014_x86_64"
#: The oldest that scfd runs on.
_OLDEST = (3, 10)


@frozen
class Target:
    """
    :ivar python: such as (3, 10).
    :ivar interpreter: its absolute path on the platform.
    """

    python: tuple[int, int]
    interpreter: str

    @property
    def version(self) -> str:
        """As people write it: 3.10."""
        return ".".join(map(str, self.python))

    def __str__(self) -> str:
        return f"CPython {self.version} on {PLATFORM}"

    def markers(self) -> dict[str, str]:
        """What environment markers of requirements are true of it."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.version}.0",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.version}.0",
            "python_version": self.version,
            "sys_platform": "linux",
        }

    def local(self) -> str | None:
        """The path of a Python of this machine that is the target's, which compiles and tries the package."""
        # Outside of a virtual environment, whose packages would stand in for missing ones.
        own = getattr(sys, "_base_executable", sys.executable)
        for path in (self.interpreter, own, shutil.which(f"python{self.version}")):
            if path and _version_of(path) == ["cpython", *map(str, self.python)]:
                return path
        return None


def target(python: str, interpreter: str | None) -> Target:
    """
    :param python: such as 3.10.
    :param interpreter: its path on the platform; by default where SCF has it.
    :raises StartupError: when one of them can't be.
    """
    match = re.fullmatch(r"(\d)\.(\d{1,2})", python)
    if match is None or (version := (int(match[1]), int(match[2]))) < _OLDEST:
        raise StartupError(f"--python: found {python!r}; expected a version from 3.10 on")
    path = interpreter or f"/var/lang/python{match[1]}{match[2]}/bin/python{python}"
    if not re.fullmatch(r"/[\w./+@-]+", path):
        raise StartupError(
            f"--interpreter: found {path!r}; expected an absolute path without spaces, such as "
            "/var/lang/python310/bin/python3.10, since SCF's bootstrap has no PATH to rely on"
        )
    return Target(version, path)


def _version_of(path: str) -> list[str]:
    program = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        ran = subprocess.run([path, "-I", "-c", program], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return ran.stdout.split()
