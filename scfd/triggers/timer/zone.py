"""The time zone of the process: whose clock expressions mean that name no zone."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import timezone, tzinfo
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from scfd.errors import StartupError

LOCALTIME = Path("/etc/localtime")
_EXPECTED = (
    "an IANA name such as Europe/Berlin, the path of a zone's file,"
    " or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
)


def process_zone(environ: Mapping[str, str], localtime: Path = LOCALTIME) -> tzinfo:
    """
    The zone that ``TZ`` names, else that of the machine, else UTC.

    By its name and not from the C library, whose daylight saving dateutil (its reader in Python) has wrong
    where it is negative: Europe/Dublin is an hour off all year, and Africa/Casablanca in Ramadan.

    :param localtime: a link to a zone's file, or such a file.
    :raises StartupError: when ``TZ`` or this file is no zone.
    """
    name = environ.get("TZ")
    if name is not None:
        try:
            return _named(name.removeprefix(":"))
        except (ValueError, LookupError, OSError):
            raise StartupError(f"TZ: found {name!r}; expected {_EXPECTED}") from None
    if not localtime.is_file():
        return timezone.utc
    try:
        return _of_file(localtime)
    except (ValueError, OSError):
        raise StartupError(
            f"{localtime}: expected the file of a time zone, or set TZ to {_EXPECTED}"
        ) from None


def _named(name: str) -> tzinfo:
    if not name:
        return timezone.utc
    if name.startswith("/"):
        return _of_file(Path(name))
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):
        return _of_rule(name)


def _of_file(path: Path) -> tzinfo:
    _, found, name = path.resolve(strict=True).as_posix().partition("/zoneinfo/")
    if found:
        try:
            return ZoneInfo(name.removeprefix("posix/"))
        except (ValueError, LookupError, OSError):
            pass  # a file of somebody's own: by its bytes
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=path.as_posix())


def _of_rule(rule: str) -> tzinfo:
    """A zone by a rule as POSIX has them: a zone's file (RFC 8536) without changes ends with just that."""
    if not rule.isascii() or "\n" in rule:
        raise ValueError(rule)
    header = b"TZif2" + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, 4)
    block = header + struct.pack(">lBB", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(block + block + b"\n" + rule.encode("ascii") + b"\n"), key=rule)
