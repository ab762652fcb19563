"""The file of the outbox: opened, checked, and made anew when it is damaged or gone. For one thread."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from twisted.logger import Logger

from scfd.errors import describe
from scfd.reports.salvage import Row, Salvaged, complete, is_damage, salvage
from scfd.reports.schema import TABLES, make_tables
from scfd.reports.state_dir import PASSING, Folder, unusable

_log = Logger(namespace="scfd.reports")

T = TypeVar("T")

#: Seconds that SQLite waits for a lock of another process, which keeps the file's thread busy.
LOCK_WAIT = 0.5
#: What the file consists of.
_SUFFIXES = ("", "-wal", "-shm")
#: How a write-ahead log begins: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


class OutboxFile:
    """
    A SQLite file in write-ahead mode with ``synchronous=NORMAL``: a commit survives the process being
    killed; only a machine that loses power can lose the last ones.

    What fails on the way, because the disk is full, say, leaves everything as it was, to be tried again.

    :param known: gives the rows of pending results that this process knows without the file, in order, and
        the highest number that it has used: they outlive any damage.
    """

    def __init__(self, folder: Folder, known: Callable[[], tuple[Iterable[Row], int]]) -> None:
        self._folder = folder
        self._known = known
        self.path = folder.path / "outbox.sqlite3"
        #: Complete when it is there: it is to take the place of the file, whatever else has happened.
        self._new = self.path.with_name(f"{self.path.name}.new")
        self._paths = [f"{self.path}{suffix}" for suffix in _SUFFIXES]
        self._db: sqlite3.Connection | None = None
        self._parts: list[tuple[int, int] | None] = []

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do something with the file that is at the path now.

        A file that turns out to be damaged is replaced, and then it is done again.

        :raises scfd.errors.StartupError: the file can't be used, and somebody has to do something about it.
        :raises OSError: the disk is at fault; so it is at an `sqlite3.OperationalError`.
        """
        db = self._usable()
        try:
            return work(db)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return work(self._replace("damaged", describe(error)))

    def close(self) -> None:
        """It is opened again when it is used."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _usable(self) -> sqlite3.Connection:
        self._folder.take()
        if self._db is None:
            return self._open()
        if self._parts != self._identify():
            # Somebody has moved or deleted it: what this process has open is still complete.
            return self._replace("replaced", "it is not at its path any more")
        return self._db

    def _open(self) -> sqlite3.Connection:
        if self._new.exists():
            self._put_in_place("damaged")
        damage = self._damage()
        return self._replace("damaged", damage) if damage else self._connect()

    def _damage(self) -> str:
        """:returns: what is wrong with the file that an earlier run has left; empty when nothing is."""
        if not self.path.exists():
            return ""
        if not self.path.stat().st_size:
            # Nothing to move aside. A node that was killed when it made the file leaves this, too.
            _log.critical(
                "the outbox {path} is empty: what was in it, if anything, is lost", path=str(self.path)
            )
            return ""
        wal = Path(f"{self.path}-wal")
        if wal.exists() and wal.stat().st_size:
            with wal.open("rb") as log:
                if log.read(4) not in _WAL_MAGIC:
                    return "its write-ahead log is no such log"
        try:
            with closing(self._connection()) as db:
                (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return describe(error)
        return "" if found == "ok" else " ".join(str(found).split())

    def _connect(self) -> sqlite3.Connection:
        made = not self.path.exists()
        db = self._connection()
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            make_tables(db)
        except BaseException:
            db.close()
            if made:  # one that was there may be empty since another process has locked it
                self._forget_empty()
            raise
        self._db, self._parts = db, self._identify()
        return db

    def _forget_empty(self) -> None:
        """A file that could be made and not filled, on a full disk, is not one that has lost its results."""
        with suppress(OSError):
            if not self.path.stat().st_size:
                self.path.unlink()

    def _connection(self) -> sqlite3.Connection:
        """A connection to the file, which is made where it is not there."""
        try:
            # SQLite gives its other files the permissions of this one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o600)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise unusable(self.path, "used", error.strerror) from error
        return connect(self.path)

    def _identify(self) -> list[tuple[int, int] | None]:
        """What is at the paths of the file's parts."""
        return [_identity(path) for path in self._paths]

    def _replace(self, how: str, why: str) -> sqlite3.Connection:
        """
        Save every result that can still be read into a new file, and give it the place of the old one.

        The old one is left alone until the new one is complete.

        :param how: what has become of the old one, for the name of what is moved aside.
        """
        old = self._db or connect(self.path)
        try:
            found = complete(salvage(old), *self._known())
            self._write_new(found)
        except BaseException:
            if old is not self._db:
                old.close()
            raise
        old.close()
        self._db = None
        aside = self._put_in_place(how)
        db = self._connect()
        _log.critical(
            "the outbox {path} is {how} ({why}){moved}: {saved} results are saved into a new one,"
            " {lost} can't be read",
            path=str(self.path),
            how=how,
            why=why,
            aside=aside,
            moved=f" and moved aside to {aside}" if aside else "",
            saved=len(found.rows.get("pending", ())),
            lost=found.lost,
        )
        return db

    def _write_new(self, found: Salvaged) -> None:
        making = self._new.with_suffix(".making")
        for suffix in ("", "-journal"):
            Path(f"{making}{suffix}").unlink(missing_ok=True)
        os.close(os.open(making, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(connect(making)) as db, Transaction(db):
            make_tables(db)
            for table, rows in found.rows.items():
                marks = ", ".join("?" * len(TABLES[table]))
                db.executemany(f"INSERT INTO {table} ({', '.join(TABLES[table])}) VALUES ({marks})", rows)
            # Numbers that were used are not used again: results that were put aside have them.
            db.execute("DELETE FROM sqlite_sequence WHERE name = 'pending'")
            db.execute("INSERT INTO sqlite_sequence VALUES ('pending', ?)", (found.last,))
        making.rename(self._new)

    def _put_in_place(self, how: str) -> str:
        """:returns: where what was at the path is now; empty when there was nothing."""
        aside = self.path.with_name(f"{self.path.name}.{how}-{int(time.time())}")
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self._new.rename(self.path)
        return str(aside) if aside.exists() else ""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that never creates the file, and without implicit transactions."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=LOCK_WAIT,
        check_same_thread=False,
        isolation_level=None,
    )
    # A result whose bytes are damaged is still a result.
    db.text_factory = lambda data: data.decode("utf-8", "replace")
    return db


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Transaction:
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
