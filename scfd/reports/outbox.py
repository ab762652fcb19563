"""The outbox: task results on disk, from the moment they are accepted until they are delivered."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from scfd.events.event import TaskResult
from scfd.reports.outbox_file import OutboxFile, Transaction
from scfd.reports.state_dir import Folder

T = TypeVar("T")

#: How many results that were put aside are kept for a person to look at.
REFUSALS_KEPT = 10_000

#: The states of a result.
PENDING, PUT_ASIDE = "pending", "put aside"

#: A number that a damaged page made a text of is a number again.
_SELECT = (
    "SELECT seq, node_id, task_id, status, result,"
    " ifnull(CAST(tries AS INTEGER), 0), ifnull(CAST(waited AS REAL), 0.0) FROM pending"
)
_LIST = f"""
SELECT seq, '{PENDING}', task_id, node_id, status, result, tries, words, accepted_at FROM pending
UNION ALL
SELECT seq, '{PUT_ASIDE}', task_id, node_id, status, result, tries, words, accepted_at FROM refused
ORDER BY seq LIMIT ?
"""


@frozen
class Entry:
    """
    One result in the outbox.

    :ivar seq: rises with the order in which results were accepted, across restarts.
    :ivar node_id: the node's id when it was accepted.
    :ivar tries: to how many tries the control plane has responded without taking it.
    :ivar waited: seconds from the first of these responses to the last, while a node ran.
    """

    seq: int
    node_id: str
    result: TaskResult
    tries: int = 0
    waited: float = 0.0


#: An entry as a plain tuple of texts and numbers, which the garbage collector passes over: 50,000 objects
#: would add 15 ms to each of its full runs, in which nothing else runs.
Packed = tuple[int, str, str, int, str, int, float]


def packed(entry: Entry) -> Packed:
    result = entry.result
    return (
        entry.seq,
        entry.node_id,
        result.task_id,
        int(result.status),
        result.result,
        entry.tries,
        entry.waited,
    )


def unpacked(values: Packed) -> Entry:
    seq, node_id, task_id, status, result, tries, waited = values
    return Entry(seq, node_id, TaskResult(task_id, status, result), tries, waited)


@frozen
class Kept:
    """
    A result as a person looks at it.

    :ivar seq: its number, for `Outbox.retry` and `Outbox.discard`.
    :ivar state: `PENDING` or `PUT_ASIDE`.
    :ivar tries: to how many tries the control plane responded without taking it.
    :ivar words: the last of these responses; empty when there was none.
    :ivar age: seconds since it was accepted; None when an earlier version of scfd accepted it.
    """

    seq: int
    state: str
    task_id: str
    node_id: str
    status: int
    result: str
    tries: int
    words: str
    age: float | None


class Outbox:
    """
    A SQLite file, used from one thread of its own, so that the reactor never waits for the disk.

    Every Deferred fails as `OutboxFile.use` does.
    """

    def __init__(self, folder: Folder, reactor: Any) -> None:
        self._file = OutboxFile(folder, self._known)
        #: What is pending, by number, and the highest number; used in the file's thread alone.
        self._pending: dict[int, Packed] = {}
        self._last = 0
        self._reactor = reactor
        self._pool = ThreadPool(1, 1, "outbox")

    def open(self) -> Deferred[list[Entry]]:
        """
        It may be called again when it has failed.

        :returns: a Deferred of everything that is still to be delivered, in order.
        """
        if not self._pool.started:
            self._pool.start()
        return self._run(lambda db: self._know(_read(db)))

    def append(self, node_id: str, results: Sequence[TaskResult]) -> Deferred[list[Entry]]:
        """:returns: a Deferred that fires when the results are on disk."""
        return self._run(lambda db: self._know(_append(db, node_id, results)))

    def remove(self, seqs: Iterable[int]) -> Deferred[None]:
        """Forget what was delivered."""
        return self._run(lambda db: self._forget(_remove(db, list(seqs))))

    def note(self, entry: Entry, words: str) -> Deferred[None]:
        """Keep how often the control plane did not take a result, for how long, and what it said last."""
        return self._run(lambda db: _note(db, entry, words))

    def refuse(self, entry: Entry, words: str) -> Deferred[None]:
        """Put a result aside, with what the control plane said."""
        return self._run(lambda db: self._forget(_refuse(db, entry, words)))

    def check(self) -> Deferred[None]:
        """Do nothing but what each work begins with: notice that the file is gone, and make it anew."""
        return self._run(lambda db: None)

    def count_put_aside(self) -> Deferred[int]:
        """:returns: a Deferred of how many results are put aside."""
        return self._run(_count_put_aside)

    def kept(self, limit: int) -> Deferred[list[Kept]]:
        """:returns: a Deferred of the results that are pending or put aside, the oldest first."""
        return self._run(lambda db: _kept(db, limit))

    def retry(self, seqs: Iterable[int]) -> Deferred[list[Entry]]:
        """:returns: a Deferred of those that were put aside and are pending again, with new numbers."""
        return self._run(lambda db: self._know(_retry(db, list(seqs))))

    def discard(self, seqs: Iterable[int]) -> Deferred[list[tuple[int, str, str]]]:
        """
        Forget results for good.

        :returns: a Deferred of number, task and state of each that was there.
        """

        def work(db: sqlite3.Connection) -> list[tuple[int, str, str]]:
            gone = _discard(db, list(seqs))
            self._forget(seq for seq, *_ in gone)
            return gone

        return self._run(work)

    def tidy(self) -> Deferred[int]:
        """
        Free disk space: checkpoint the write-ahead log, and keep only the newest of those put aside.

        :returns: a Deferred of how many of these were dropped.
        """
        return self._run(_tidy)

    def close(self) -> Deferred[None]:
        """Close the file and end the thread. The outbox can't be used after that."""
        closing = deferToThreadPool(self._reactor, self._pool, self._file.close)
        return closing.addBoth(lambda _: self._pool.stop())

    def _known(self) -> tuple[Iterable[tuple[Any, ...]], int]:
        return map(_row, self._pending.values()), self._last

    def _know(self, entries: list[Entry]) -> list[Entry]:
        for entry in entries:
            self._pending[entry.seq] = packed(entry)
            self._last = max(self._last, entry.seq)
        return entries

    def _forget(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            self._pending.pop(seq, None)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, self._file.use, work)


def _read(db: sqlite3.Connection) -> list[Entry]:
    return [unpacked(row) for row in db.execute(f"{_SELECT} ORDER BY seq")]


def _row(known: Packed) -> tuple[Any, ...]:
    """The row of a result, as far as is known without the file."""
    *result, tries, waited = known
    return (*result, 0.0, tries, "", waited)


def _append(db: sqlite3.Connection, node_id: str, results: Sequence[TaskResult]) -> list[Entry]:
    entries = []
    now = time.time()
    with Transaction(db):
        for result in map(_storable, results):
            cursor = db.execute(
                "INSERT INTO pending (task_id, node_id, status, result, accepted_at) VALUES (?, ?, ?, ?, ?)",
                (result.task_id, node_id, result.status, result.result, now),
            )
            entries.append(Entry(cursor.lastrowid or 0, node_id, result))
    return entries


def _remove(db: sqlite3.Connection, seqs: Sequence[int]) -> Sequence[int]:
    with Transaction(db):
        db.executemany("DELETE FROM pending WHERE seq = ?", [(seq,) for seq in seqs])
    return seqs


def _note(db: sqlite3.Connection, entry: Entry, words: str) -> None:
    with Transaction(db):
        db.execute(
            "UPDATE pending SET tries = ?, waited = ?, words = ? WHERE seq = ?",
            (entry.tries, entry.waited, words, entry.seq),
        )


def _refuse(db: sqlite3.Connection, entry: Entry, words: str) -> Sequence[int]:
    with Transaction(db):
        db.execute(
            "INSERT OR REPLACE INTO refused"
            " (seq, node_id, task_id, status, result, accepted_at, tries, words, refused_at)"
            " SELECT seq, node_id, task_id, status, result, accepted_at, ?, ?, ? FROM pending WHERE seq = ?",
            (entry.tries, words, time.time(), entry.seq),
        )
        db.execute("DELETE FROM pending WHERE seq = ?", (entry.seq,))
    return [entry.seq]


def _count_put_aside(db: sqlite3.Connection) -> int:
    (count,) = db.execute("SELECT COUNT(*) FROM refused").fetchone()
    return int(count)


def _kept(db: sqlite3.Connection, limit: int) -> list[Kept]:
    now = time.time()
    kept = []
    for *fields, accepted_at in db.execute(_LIST, (limit,)):
        age: Any = max(0.0, now - accepted_at) if accepted_at else None
        kept.append(Kept(*[*fields, age]))
    return kept


def _retry(db: sqlite3.Connection, seqs: Sequence[int]) -> list[Entry]:
    entries = []
    with Transaction(db):
        for seq in seqs:
            row = db.execute(
                "SELECT node_id, task_id, status, result, accepted_at FROM refused WHERE seq = ?", (seq,)
            ).fetchone()
            if row is None:
                continue
            cursor = db.execute(
                "INSERT INTO pending (node_id, task_id, status, result, accepted_at) VALUES (?, ?, ?, ?, ?)",
                row,
            )
            db.execute("DELETE FROM refused WHERE seq = ?", (seq,))
            node_id, *result, _ = row
            entries.append(Entry(cursor.lastrowid or 0, node_id, TaskResult(*result)))
    return entries


def _discard(db: sqlite3.Connection, seqs: Sequence[int]) -> list[tuple[int, str, str]]:
    gone = []
    with Transaction(db):
        for seq in seqs:
            for table, state in (("pending", PENDING), ("refused", PUT_ASIDE)):
                found = db.execute(f"SELECT task_id FROM {table} WHERE seq = ?", (seq,)).fetchone()
                if found:
                    db.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))
                    gone.append((seq, found[0], state))
    return gone


def _tidy(db: sqlite3.Connection) -> int:
    dropped = db.execute(
        "DELETE FROM refused WHERE seq <= (SELECT seq FROM refused ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (REFUSALS_KEPT,),
    ).rowcount
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return dropped


def _storable(result: TaskResult) -> TaskResult:
    """
    The result as SQLite, which keeps UTF-8 only, can keep it: half a surrogate pair, which JSON can
    carry (a text cut in the middle of an emoji), becomes a question mark.
    """
    task_id, text = (part.encode("utf-8", "replace").decode() for part in (result.task_id, result.result))
    return evolve(result, task_id=task_id, result=text)
