"""The tables of the outbox file."""

from __future__ import annotations

import sqlite3

_RESULT = {"node_id": "TEXT NOT NULL", "task_id": "TEXT NOT NULL", "status": "INTEGER NOT NULL"}
_RESULT["result"] = "TEXT NOT NULL"
#: What became of a result so far. Outboxes of earlier versions lack some of these.
_HISTORY = {
    "accepted_at": "REAL NOT NULL DEFAULT 0",
    "tries": "INTEGER NOT NULL DEFAULT 0",
    "words": "TEXT NOT NULL DEFAULT ''",
}
#: Each table's columns. ``pending`` waits for delivery; ``refused`` is put aside for a person to look at.
TABLES = {
    "pending": {
        "seq": "INTEGER PRIMARY KEY AUTOINCREMENT",
        **_RESULT,
        **_HISTORY,
        "waited": "REAL NOT NULL DEFAULT 0",
    },
    "refused": {"seq": "INTEGER PRIMARY KEY", **_RESULT, **_HISTORY, "refused_at": "REAL NOT NULL DEFAULT 0"},
}


def missing_columns(db: sqlite3.Connection, table: str) -> list[str]:
    """What an outbox of an earlier version does not have."""
    found = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    return [name for name in TABLES[table] if name not in found]


def make_tables(db: sqlite3.Connection) -> None:
    """Make the tables, or add the columns that those of an earlier version lack."""
    for table, columns in TABLES.items():
        missing = missing_columns(db, table)
        if len(missing) == len(columns):
            declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            db.execute(f"CREATE TABLE {table} ({declared})")
            continue
        for name in missing:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")
