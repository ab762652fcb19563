"""Log lines that would come with each event are said once."""

from __future__ import annotations

#: Lines that are remembered. After as many, the first may be said again.
LIMIT = 1_000


class Said:
    """What a log has been told already."""

    def __init__(self) -> None:
        self._lines: set[object] = set()

    def first(self, line: object) -> bool:
        """:returns: whether a line, or whatever stands for it, has not been said before."""
        if line in self._lines:
            return False
        if len(self._lines) >= LIMIT:
            self._lines.clear()
        self._lines.add(line)
        return True
