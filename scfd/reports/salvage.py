"""What can still be read of a damaged outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve, field, frozen

from scfd.events.event import TaskResult
from scfd.reports.schema import TABLES, missing_columns

Row = tuple[Any, ...]


@frozen
class Salvaged:
    """
    :ivar rows: of each table, with all of its columns.
    :ivar last: the highest number that was ever used, as far as is known.
    :ivar lost: how many pending results can't be read, in words.
    """

    rows: dict[str, list[Row]] = field(factory=dict)
    last: int = 0
    lost: str = "an unknown number"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault. A disk that is full, locked or read-only is an `OperationalError`."""
    text = str(error)
    return type(error) is sqlite3.DatabaseError or "no such table" in text or "malformed" in text


def salvage(db: sqlite3.Connection) -> Salvaged:
    """
    :param db: a connection to a damaged or deleted file.
    :raises sqlite3.OperationalError: the disk, not the file, is at fault.
    """
    try:
        last = _last(db)
        pending, unread = _salvage_table(db, "pending", last)
    except (sqlite3.DatabaseError, TypeError, ValueError) as error:
        if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
            raise
        return Salvaged()
    try:
        refused, _ = _salvage_table(db, "refused", last)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        refused = []
    usable = [row for row in pending if _is_usable(row)]
    lost = unread + len(pending) - len(usable)
    # A number that was never used, or whose result was delivered, can't be told from one that is lost.
    return Salvaged(
        {"pending": usable, "refused": [row for row in refused if _is_usable(row)]},
        last,
        f"up to {lost}" if unread else str(lost),
    )


def complete(found: Salvaged, known: Iterable[Row], last: int) -> Salvaged:
    """
    Add what the process knows itself to what can be read.

    :param known: all pending results, in order.
    :param last: the highest number that it has used; 0 when it has not read the file yet.
    """
    if not last:
        return found
    rows: dict[int, Row] = {row[0]: row for row in known}
    rows.update((row[0], row) for row in found.rows.get("pending", ()) if row[0] in rows)
    return evolve(
        found, rows={**found.rows, "pending": [*rows.values()]}, last=max(found.last, last), lost="0"
    )


def _last(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pending'").fetchone()
    return int(found[0]) if found else 0


def _salvage_table(db: sqlite3.Connection, table: str, last: int) -> tuple[list[Row], int]:
    missing = missing_columns(db, table)
    if "seq" in missing:
        raise sqlite3.DatabaseError(f"no such table: {table}")
    columns = [
        kind.rpartition("DEFAULT ")[2] if name in missing else name for name, kind in TABLES[table].items()
    ]
    select = f"SELECT {', '.join(columns)} FROM {table}"
    return _salvage_range(db, select, 0, last + 1)


def _is_usable(row: Sequence[Any]) -> bool:
    seq, _, task_id, status, text, *_ = row  # the first columns of both tables
    return isinstance(seq, int) and TaskResult(task_id, status, text).is_usable()


def _salvage_range(db: sqlite3.Connection, select: str, first: int, end: int) -> tuple[list[Row], int]:
    """The rows from ``first`` to before ``end``, and how many of these numbers are on damaged pages."""
    try:
        return db.execute(f"{select} WHERE seq >= ? AND seq < ? ORDER BY seq", (first, end)).fetchall(), 0
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        if end - first == 1:
            return [], 1
    middle = (first + end) // 2
    before, lost_before = _salvage_range(db, select, first, middle)
    after, lost_after = _salvage_range(db, select, middle, end)
    return before + after, lost_before + lost_after
