"""Tables for people."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from scfd.errors import printable


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """
    Columns as wide as their longest cell. On a terminal the last column is cut off where the line ends.

    :returns: the lines; none without rows.
    """
    cells = [[_printable(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = []
    for row in (headings, *cells):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(line if room is None or len(line) <= room else line[: room - 1] + "…")
    return lines


def _printable(cell: object) -> str:
    """One line without characters that could move the cursor."""
    return "" if cell is None else printable(" ".join(str(cell).split()))


def duration(seconds: float | None) -> str:
    """A length of time as people say it: ``1.2 ms``, ``3.4 s``, ``5 min``, ``2 h``, ``3 d``."""
    if seconds is None:
        return ""
    for limit, unit, size in ((1, "ms", 0.001), (120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds / 86400:.0f} d"


def ago(moment: str | None) -> str:
    """How long ago an RFC 3339 moment was, or in how long it will be."""
    if not moment:
        return ""
    at = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    seconds = (datetime.now(timezone.utc) - at).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"
