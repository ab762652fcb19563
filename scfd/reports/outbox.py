"""The outbox: task results on disk, from the moment they are accepted until they are delivered."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from scfd.errors import StartupError, describe
from scfd.events.event import TaskResult

_log = Logger(namespace="scfd.reports")

T = TypeVar("T")

#: How many results that the control plane refused are kept for a person to look at.
REFUSALS_KEPT = 10_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pending (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, node_id TEXT NOT NULL,
    status INTEGER NOT NULL, result TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
    seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL, node_id TEXT NOT NULL,
    status INTEGER NOT NULL, result TEXT NOT NULL, words TEXT NOT NULL, refused_at REAL NOT NULL);
"""

_SELECT = "SELECT seq, node_id, task_id, status, result FROM pending"
#: How a write-ahead log begins: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


@frozen
class Entry:
    """
    One result in the outbox.

    :ivar seq: rises with the order in which results were accepted, across restarts.
    :ivar node_id: the node's id when it was accepted.
    """

    seq: int
    node_id: str
    result: TaskResult


class Outbox:
    """
    A SQLite file, used from one thread of its own, so that the reactor never waits for the disk.

    The file is in write-ahead mode with ``synchronous=NORMAL``: a commit survives the process being
    killed; only a machine that loses power can lose the last ones.

    :param state_dir: the folder it is in; it exists by the time of `open`.
    """

    def __init__(self, state_dir: str, reactor: Any) -> None:
        self._path = Path(state_dir) / "outbox.sqlite3"
        self._reactor = reactor
        self._pool = ThreadPool(1, 1, "outbox")
        self._db: sqlite3.Connection | None = None

    def open(self) -> Deferred[list[Entry]]:
        """
        :returns: a Deferred of everything that is still to be delivered, in order. It fails with
            `StartupError` when the file can't be used.
        """
        self._pool.start()
        return self._run(self._open)

    def append(self, node_id: str, results: Sequence[TaskResult]) -> Deferred[list[Entry]]:
        """:returns: a Deferred that fires when the results are on disk."""
        return self._run(lambda: self._append(node_id, results))

    def remove(self, seqs: Iterable[int]) -> Deferred[None]:
        """Forget what was delivered."""
        return self._run(lambda: self._remove(list(seqs)))

    def refuse(self, entry: Entry, words: str) -> Deferred[None]:
        """Move a refused result aside, with what the control plane said."""
        return self._run(lambda: self._refuse(entry, words))

    def tidy(self) -> Deferred[None]:
        """Free disk space: checkpoint the write-ahead log, and keep only the newest refusals."""
        return self._run(self._tidy)

    def close(self) -> Deferred[None]:
        """Close the file and end the thread. The outbox can't be used after that."""
        return self._run(self._close).addBoth(lambda _: self._pool.stop())

    def _run(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, self._mended, work)

    def _mended(self, work: Callable[[], T]) -> T:
        """Do something; a file that turns out to be damaged is replaced, and then it is done again."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if self._db is None or not _is_damage(error):
                raise
            self._replace(describe(error))
            return work()

    def _open(self) -> list[Entry]:
        try:
            damage = self._damage()
            if damage:
                self._replace(damage)
            self._connect()
            return [_entry(row) for row in self._rows()]
        except (sqlite3.OperationalError, OSError) as error:
            raise StartupError(
                f"system.state_dir: {self._path} can't be used: {describe(error)}; "
                "name a folder that this process may write to"
            ) from error

    def _damage(self) -> str:
        """:returns: what is wrong with the file that an earlier run has left; empty when nothing is."""
        if not self._path.exists():
            return ""
        if not self._path.stat().st_size:
            # Nothing to move aside. A node that was killed when it made the file leaves this, too.
            _log.critical(
                "the outbox {path} is empty: what was in it, if anything, is lost", path=str(self._path)
            )
            return ""
        wal = Path(f"{self._path}-wal")
        if wal.exists() and wal.stat().st_size and wal.read_bytes()[:4] not in _WAL_MAGIC:
            return "its write-ahead log is no such log"
        try:
            self._connect()
            (found,) = self._connection().execute("PRAGMA quick_check(1)").fetchone()
            for row in self._rows():
                _entry(row)  # not kept: to free a list of 100,000 holds all threads up for 20 ms
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return describe(error)
        finally:
            self._close()
        return "" if found == "ok" else str(found)

    def _connect(self) -> None:
        # SQLite gives its other files the permissions of this one, and says what is wrong with it.
        with suppress(OSError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
        self._db = db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        # A result whose bytes are damaged is still a result.
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(_SCHEMA)

    def _rows(self) -> sqlite3.Cursor:
        return self._connection().execute(f"{_SELECT} ORDER BY seq")

    def _replace(self, damage: str) -> None:
        """Move a damaged file aside, and save every result that can still be read into a new one."""
        self._close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            source = Path(f"{self._path}{suffix}")
            if source.exists():
                source.rename(f"{aside}{suffix}")
        rows, lost = _salvage(aside)
        self._connect()
        with _Transaction(self._connection()) as db:
            db.executemany(
                "INSERT INTO pending (seq, node_id, task_id, status, result) VALUES (?, ?, ?, ?, ?)", rows
            )
        _log.critical(
            "the outbox {path} is damaged ({damage}) and moved aside to {aside}: {saved} results are saved "
            "into a new one, {lost} can't be read",
            path=str(self._path),
            damage=damage,
            aside=str(aside),
            saved=len(rows),
            lost=lost,
        )

    def _connection(self) -> sqlite3.Connection:
        assert self._db is not None, "the outbox is not open"
        return self._db

    def _append(self, node_id: str, results: Sequence[TaskResult]) -> list[Entry]:
        db = self._connection()
        entries = []
        with _Transaction(db):
            for result in map(_storable, results):
                cursor = db.execute(
                    "INSERT INTO pending (task_id, node_id, status, result) VALUES (?, ?, ?, ?)",
                    (result.task_id, node_id, result.status, result.result),
                )
                entries.append(Entry(cursor.lastrowid or 0, node_id, result))
        return entries

    def _remove(self, seqs: list[int]) -> None:
        with _Transaction(self._connection()) as db:
            db.executemany("DELETE FROM pending WHERE seq = ?", [(seq,) for seq in seqs])

    def _refuse(self, entry: Entry, words: str) -> None:
        with _Transaction(self._connection()) as db:
            db.execute(
                "INSERT OR REPLACE INTO refused SELECT seq, task_id, node_id, status, result, ?, ? "
                "FROM pending WHERE seq = ?",
                (words, time.time(), entry.seq),
            )
            db.execute("DELETE FROM pending WHERE seq = ?", (entry.seq,))

    def _tidy(self) -> None:
        db = self._connection()
        db.execute(
            "DELETE FROM refused WHERE seq <= (SELECT seq FROM refused ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (REFUSALS_KEPT,),
        )
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault. A disk that is full, locked or read-only is an `OperationalError`."""
    text = str(error)
    return type(error) is sqlite3.DatabaseError or "no such table" in text or "malformed" in text


def _entry(row: Sequence[Any]) -> Entry:
    seq, node_id, *rest = row
    return Entry(seq, node_id, TaskResult(*rest))


def _salvage(path: Path) -> tuple[list[tuple[Any, ...]], str]:
    """
    :param path: a damaged file.
    :returns: the rows of its table ``pending`` that can be read and used, and how many can't be, in words.
    """
    db = sqlite3.connect(path, isolation_level=None)
    db.text_factory = lambda data: data.decode("utf-8", "replace")
    try:
        (last,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'pending'").fetchone() or (0,)
        rows, unread = _salvage_range(db, 0, int(last) + 1)
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return [], "an unknown number"
    finally:
        db.close()
    usable = [row for row in rows if isinstance(row[0], int) and _entry(row).result.is_usable()]
    lost = unread + len(rows) - len(usable)
    # A number that was never used, or whose result was delivered, can't be told from one that is lost.
    return usable, f"up to {lost}" if unread else str(lost)


def _salvage_range(db: sqlite3.Connection, first: int, end: int) -> tuple[list[tuple[Any, ...]], int]:
    """The rows from ``first`` to before ``end``, and how many of these numbers are on damaged pages."""
    try:
        return db.execute(f"{_SELECT} WHERE seq >= ? AND seq < ? ORDER BY seq", (first, end)).fetchall(), 0
    except sqlite3.DatabaseError:
        if end - first == 1:
            return [], 1
    middle = (first + end) // 2
    before, lost_before = _salvage_range(db, first, middle)
    after, lost_after = _salvage_range(db, middle, end)
    return before + after, lost_before + lost_after


def _storable(result: TaskResult) -> TaskResult:
    """
    The result as SQLite, which keeps UTF-8 only, can keep it: half a surrogate pair, which JSON can
    carry (a text cut in the middle of an emoji), becomes a question mark.
    """
    task_id, text = (part.encode("utf-8", "replace").decode() for part in (result.task_id, result.result))
    return evolve(result, task_id=task_id, result=text)


class _Transaction:
    """Commits at its end, or takes everything back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            # When the disk is full, SQLite has taken everything back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
