"""Tests for scfd.reports.outbox: on a real disk, in its real thread."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Any

from attrs import evolve
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from scfd.errors import StartupError
from scfd.events.event import TaskResult
from scfd.reports import outbox_file
from scfd.reports.outbox import PENDING, PUT_ASIDE, REFUSALS_KEPT, Entry, Outbox
from scfd.reports.outbox_file import LOCK_WAIT
from scfd.reports.state_dir import Folder


def results(*names: str) -> list[TaskResult]:
    return [TaskResult(name, 2, f"of {name}") for name in names]


class OutboxTestCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "outbox.sqlite3"
        self.held = Folder(str(self.folder))
        self.addCleanup(self.held.release)
        self.addCleanup(self.close_all)
        self.opened: list[Outbox] = []

    def close_all(self) -> Deferred[Any]:
        return defer.gatherResults([outbox.close() for outbox in self.opened])

    async def open(self) -> tuple[Outbox, list[Entry]]:
        outbox = self.make()
        return outbox, await outbox.open()

    def make(self) -> Outbox:
        # Not at module level: the package's __init__ has to choose the reactor first.
        from twisted.internet import reactor

        self.opened.append(Outbox(self.held, reactor))
        return self.opened[-1]

    async def close(self, outbox: Outbox) -> None:
        self.opened.remove(outbox)
        await outbox.close()

    async def reopened(self, outbox: Outbox) -> tuple[Outbox, list[Entry]]:
        await self.close(outbox)
        return await self.open()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What another connection to the file gets for a query."""
        with sqlite3.connect(self.file) as db:
            return db.execute(query).fetchall()


class KeepingTests(OutboxTestCase):
    async def test_is_empty_at_first(self) -> None:
        _, entries = await self.open()
        self.assertEqual(entries, [])

    async def test_results_are_on_disk_when_the_deferred_fires(self) -> None:
        outbox, _ = await self.open()
        entries = await outbox.append("node-abc", results("b", "a"))
        self.assertEqual(
            self.rows("SELECT task_id, node_id, status, result FROM pending ORDER BY seq"),
            [("b", "node-abc", 2, "of b"), ("a", "node-abc", 2, "of a")],
        )
        self.assertEqual([entry.result.task_id for entry in entries], ["b", "a"])
        self.assertLess(entries[0].seq, entries[1].seq)

    async def test_a_later_run_finds_them_in_order(self) -> None:
        outbox, _ = await self.open()
        first = await outbox.append("one", results("b", "a"))
        second = await outbox.append("two", results("b"))
        outbox, found = await self.reopened(outbox)
        self.assertEqual(found, first + second)

    async def test_a_run_that_was_killed_leaves_them_as_well(self) -> None:
        """A second reader sees what the first wrote although nobody closed the file."""
        outbox, _ = await self.open()
        entries = await outbox.append("node", results("a"))
        _, found = await self.open()
        self.assertEqual(found, entries)

    async def test_order_goes_on_after_a_restart(self) -> None:
        outbox, _ = await self.open()
        (entry,) = await outbox.append("node", results("a"))
        await outbox.remove([entry.seq])
        outbox, _ = await self.reopened(outbox)
        (later,) = await outbox.append("node", results("b"))
        self.assertGreater(later.seq, entry.seq)

    async def test_appends_keep_their_order_although_nobody_waits(self) -> None:
        outbox, _ = await self.open()
        appended = [outbox.append("node", results(str(n))) for n in range(50)]
        batches = await defer.gatherResults(appended)
        self.assertEqual([entry.result.task_id for (entry,) in batches], [str(n) for n in range(50)])
        seqs = [entry.seq for (entry,) in batches]
        self.assertEqual(seqs, sorted(seqs))

    async def test_what_was_delivered_is_forgotten(self) -> None:
        outbox, _ = await self.open()
        one, two, three = await outbox.append("node", results("a", "b", "c"))
        await outbox.remove([one.seq, three.seq])
        outbox, found = await self.reopened(outbox)
        self.assertEqual(found, [two])

    async def test_removing_what_is_not_there_is_fine(self) -> None:
        outbox, _ = await self.open()
        await outbox.remove([7])

    async def test_every_text_can_be_kept(self) -> None:
        """A plugin may cut its text in the middle of a character beyond the basic plane."""
        outbox, _ = await self.open()
        for text in ("", "日本", "a\0b", "\U0001f600", "x" * 100_000, "cut \ud83d", "\udc00\ud800"):
            with self.subTest(text=text[:10]):
                await outbox.append("node", [TaskResult("t", 4, text)])
        outbox, found = await self.reopened(outbox)
        self.assertEqual(found[3].result.result, "\U0001f600")
        self.assertEqual(found[5].result.result, "cut ?")

    async def test_any_status_that_is_an_integer(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", [TaskResult("t", status) for status in (0, 1, 2, 3, 4, -7, 99)])
        outbox, found = await self.reopened(outbox)
        self.assertEqual([entry.result.status for entry in found], [0, 1, 2, 3, 4, -7, 99])

    async def test_a_batch_is_kept_as_a_whole_or_not_at_all(self) -> None:
        outbox, _ = await self.open()
        broken = [*results("a"), TaskResult("b", None)]  # type: ignore[arg-type]  # breaks NOT NULL
        await self.assertFailure(outbox.append("node", broken), sqlite3.IntegrityError)
        await outbox.append("node", results("c"))
        outbox, found = await self.reopened(outbox)
        self.assertEqual([entry.result.task_id for entry in found], ["c"])

    async def test_a_full_disk_fails_the_append_and_a_later_one_works(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", results("a"))
        await outbox._run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
        failure = await self.assertFailure(
            outbox.append("node", [TaskResult("big", 2, "x" * 100_000)]), sqlite3.OperationalError
        )
        self.assertEqual(str(failure), "database or disk is full")
        await outbox._run(lambda db: db.execute("PRAGMA max_page_count = 10000").fetchall())
        await outbox.append("node", results("b"))
        outbox, found = await self.reopened(outbox)
        self.assertEqual([entry.result.task_id for entry in found], ["a", "b"])


class RefusedTests(OutboxTestCase):
    async def test_a_refused_result_is_put_aside_with_the_servers_words(self) -> None:
        outbox, _ = await self.open()
        one, two = await outbox.append("node", results("a", "b"))
        await outbox.refuse(one, "HTTP status 404: no such task")
        self.assertEqual(
            self.rows("SELECT task_id, node_id, status, result, words FROM refused"),
            [("a", "node", 2, "of a", "HTTP status 404: no such task")],
        )
        outbox, found = await self.reopened(outbox)
        self.assertEqual(found, [two])

    async def test_words_may_be_anything(self) -> None:
        outbox, _ = await self.open()
        (entry,) = await outbox.append("node", results("a"))
        await outbox.refuse(entry, "\ufffd\0 日本")
        self.assertEqual(self.rows("SELECT words FROM refused"), [("\ufffd\0 日本",)])

    async def test_tidying_keeps_the_newest(self) -> None:
        outbox, _ = await self.open()
        self.rows(
            f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {REFUSALS_KEPT + 5}) "
            "INSERT INTO refused (seq, task_id, node_id, status, result) SELECT x, 'a', 'node', 4, '' FROM n"
        )
        await outbox.append("node", results("b"))
        await outbox.tidy()
        self.assertEqual(
            self.rows("SELECT MIN(seq), MAX(seq), COUNT(*) FROM refused"),
            [(6, REFUSALS_KEPT + 5, REFUSALS_KEPT)],
        )
        self.assertEqual(self.rows("SELECT task_id FROM pending"), [("b",)])

    async def test_tidying_with_few_refusals_takes_none_away(self) -> None:
        outbox, _ = await self.open()
        (entry,) = await outbox.append("node", results("a"))
        await outbox.refuse(entry, "no")
        await outbox.tidy()
        self.assertEqual(len(self.rows("SELECT * FROM refused")), 1)

    async def test_tidying_folds_the_log_in(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", [TaskResult("a", 2, "x" * 100_000)])
        log = self.folder / "outbox.sqlite3-wal"
        self.assertGreater(log.stat().st_size, 100_000)
        await outbox.tidy()
        self.assertEqual(log.stat().st_size, 0)


class DamageTests(OutboxTestCase):
    async def test_a_damaged_file_is_moved_aside_and_the_node_starts(self) -> None:
        self.file.write_bytes(b"this is no database, and long enough to be looked at" * 100)
        with capturedLogs() as events:
            outbox, found = await self.open()
        self.assertEqual(found, [])
        await outbox.append("node", results("a"))
        (aside,) = self.folder.glob("outbox.sqlite3.damaged-*")
        self.assertTrue(aside.read_bytes().startswith(b"this is no database"))
        self.assertEqual([event["log_level"] for event in events], [LogLevel.critical])
        self.assertEqual(Path(events[0]["aside"]), aside)

    async def test_a_file_that_was_cut_off(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", results(*(f"task-{n}" for n in range(500))))
        await self.close(outbox)
        self.file.write_bytes(self.file.read_bytes()[:6000])
        outbox, found = await self.open()
        self.assertEqual(found, [])
        self.assertEqual(len(list(self.folder.glob("outbox.sqlite3.damaged-*"))), 1)

    async def damaged(self, count: int, harm: Callable[[bytearray], object]) -> tuple[list[Entry], str]:
        """Fill an outbox, harm its file, open it. :returns: what is in it then, and the critical line."""
        outbox, _ = await self.open()
        await outbox.append("node", [TaskResult(f"task-{n}", 2, "x" * 500) for n in range(count)])
        await outbox.tidy()
        await self.close(outbox)
        data = bytearray(self.file.read_bytes())
        harm(data)
        self.file.write_bytes(data)
        with capturedLogs() as events:
            outbox, found = await self.open()
        await outbox.append("node", results("new"))
        (line,) = [formatEvent(event) for event in events if event["log_level"] is LogLevel.critical]
        return found, line

    async def test_readable_results_of_a_damaged_file_are_saved(self) -> None:
        def harm(data: bytearray) -> None:
            data[10 * 4096 : 11 * 4096] = b"\x5a" * 4096

        found, line = await self.damaged(400, harm)
        self.assertRegex(line, r"damaged .*: \d+ results are saved into a new one, up to \d+ can't be read")
        self.assertGreater(len(found), 380)
        self.assertLess(len(found), 400)
        for entry in found:  # in their order, with the numbers they had
            self.assertEqual(entry.result, TaskResult(f"task-{entry.seq - 1}", 2, "x" * 500))
        self.assertEqual([entry.seq for entry in found], sorted(entry.seq for entry in found))
        self.assertEqual(len(list(self.folder.glob("outbox.sqlite3.damaged-*"))), 1)

    async def test_bytes_that_are_not_utf8(self) -> None:
        """In a result: it is delivered as well as it can be read, and nothing else is affected."""
        outbox, _ = await self.open()
        await outbox.append("node", [TaskResult("a", 2, "what-it-said"), TaskResult("b", 2, "")])
        await outbox.tidy()
        await self.close(outbox)
        self.file.write_bytes(self.file.read_bytes().replace(b"what-it-said", b"what-\xff\xfe-said"))
        _, found = await self.open()
        self.assertEqual([entry.result.task_id for entry in found], ["a", "b"])
        self.assertEqual(found[0].result.result, "what-\ufffd\ufffd-said")

    async def test_cut_to_nothing(self) -> None:
        found, line = await self.damaged(3, bytearray.clear)
        self.assertEqual(found, [])
        self.assertEqual(line, f"the outbox {self.file} is empty: what was in it, if anything, is lost")

    async def test_a_write_ahead_log_that_is_none(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", results("a"))
        await self.close(outbox)
        Path(f"{self.file}-wal").write_bytes(b"garbage" * 100)
        with capturedLogs() as events:
            _, found = await self.open()
        self.assertEqual([entry.result.task_id for entry in found], ["a"])
        self.assertIn("its write-ahead log is no such log", formatEvent(events[0]))
        self.assertIn(": 1 results are saved into a new one, 0 can't be read", formatEvent(events[0]))

    async def test_damage_that_shows_later(self) -> None:
        """The file is replaced, and what was to be done is done on the new one; what was pending is saved."""
        for harm in (self.drop_the_table, self.overwrite):
            outbox, _ = await self.open()
            first, delivered = await outbox.append("node", results("a", "b"))
            await outbox.remove([delivered.seq])
            await outbox.tidy()
            harm()
            with capturedLogs() as events:
                (entry,) = await outbox.append("node", results("c"))
            self.assertIn(": 1 results are saved into a new one, 0 can't be read", formatEvent(events[0]))
            self.assertGreater(entry.seq, delivered.seq)
            outbox, found = await self.reopened(outbox)
            self.assertEqual(found, [first, entry])
            await outbox.remove([first.seq, entry.seq])
            await self.close(outbox)

    def drop_the_table(self) -> None:
        db = sqlite3.connect(self.file)
        db.execute("DROP TABLE pending")
        db.close()

    def overwrite(self) -> None:
        db = sqlite3.connect(self.file)  # its change has the node read the file, not what it remembers
        db.execute("UPDATE pending SET words = 'x'")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        with self.file.open("r+b") as file:
            file.write(b"garbage!" * 512)

    async def test_a_disk_that_is_full_when_the_file_is_made(self) -> None:
        """What is there then, and is empty, has lost nothing."""
        self.patch(outbox_file, "make_tables", self.full)
        with capturedLogs() as events:
            for _ in range(2):
                with self.assertRaises(sqlite3.OperationalError):
                    await self.open()
        self.assertEqual(events, [])
        self.assertFalse(self.file.exists())

    def full(self, db: sqlite3.Connection) -> None:
        self.file.write_bytes(b"")
        raise sqlite3.OperationalError("database or disk is full")

    async def test_files_are_for_their_owner_alone(self) -> None:
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        outbox, _ = await self.open()
        await outbox.append("node", results("a"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.folder.glob("outbox*")}
        names = ("outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm")
        self.assertEqual(modes, dict.fromkeys(names, 0o600))

    async def test_an_empty_file_is_a_new_outbox(self) -> None:
        self.file.touch()
        _, found = await self.open()
        self.assertEqual(found, [])
        self.assertEqual(list(self.folder.glob("*.damaged-*")), [])

    async def test_a_folder_that_is_not_there(self) -> None:
        self.held = Folder(str(self.folder / "missing"))
        self.file = self.folder / "missing" / "outbox.sqlite3"
        await self.open()
        self.assertEqual(self.rows("SELECT * FROM pending"), [])

    async def test_a_folder_in_the_place_of_the_file(self) -> None:
        self.file.mkdir()
        error = await self.assertFailure(self.make().open(), StartupError)
        self.assertEqual(
            str(error),
            f"system.state_dir: {self.file} can't be used (Is a directory); "
            "name a folder that this process may write to",
        )

    async def test_can_be_closed_although_it_did_not_open(self) -> None:
        self.file.mkdir()
        outbox = self.make()
        await self.assertFailure(outbox.open(), StartupError)
        await self.close(outbox)


class TakenAwayTests(OutboxTestCase):
    """Somebody deletes or moves what a running node has open."""

    async def saved_after(self, harm: Callable[[], object]) -> str:
        """Harm what a running outbox has; everything is in the file all the same. :returns: what was said."""
        outbox, _ = await self.open()
        first = await outbox.append("node", results("a", "b"))
        await outbox.refuse(first[0], "no")
        harm()
        with capturedLogs() as events:
            await outbox.check()
            later = await outbox.append("node", results("c"))
        _, found = await self.open()  # what a run after kill -9 finds
        self.assertEqual(found, [first[1], *later])
        self.assertGreater(later[0].seq, first[1].seq)
        self.assertEqual(await outbox.count_put_aside(), 1)
        (line,) = [formatEvent(event) for event in events]
        return line

    async def test_the_file(self) -> None:
        line = await self.saved_after(self.file.unlink)
        self.assertEqual(
            line,
            f"the outbox {self.file} is replaced (it is not at its path any more): "
            "1 results are saved into a new one, 0 can't be read",
        )

    async def test_its_log(self) -> None:
        await self.saved_after(Path(f"{self.file}-wal").unlink)

    async def test_the_folder(self) -> None:
        await self.saved_after(lambda: shutil.rmtree(self.folder))
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)

    async def test_the_folder_is_moved(self) -> None:
        await self.saved_after(lambda: self.folder.rename(self.folder.with_name("moved")))

    async def test_another_file_in_its_place(self) -> None:
        def harm() -> None:
            self.file.unlink()
            self.file.write_text("a copy of something")

        line = await self.saved_after(harm)
        (aside,) = (path for path in self.folder.glob("*.replaced-*") if path.suffix[-1].isdigit())
        self.assertEqual(aside.read_text(), "a copy of something")
        self.assertIn(f" and moved aside to {aside}:", line)

    async def test_a_folder_that_can_not_be_made_again(self) -> None:
        """It waits, with what it has open, and goes on as soon as it can."""
        outbox, _ = await self.open()
        (first,) = await outbox.append("node", results("a"))
        self.folder.rename(self.folder.with_name("moved"))
        self.folder.write_text("in the way")
        for _ in range(2):
            await self.assertFailure(outbox.append("node", results("b")), NotADirectoryError)
        self.folder.unlink()
        await outbox.append("node", results("b"))
        _, found = await self.open()
        self.assertEqual([entry.result.task_id for entry in found], ["a", "b"])
        self.assertEqual(found[0], first)

    async def test_a_folder_that_comes_back(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", results("a"))
        moved = self.folder.with_name("moved")
        self.folder.rename(moved)
        self.folder.write_text("in the way")
        await self.assertFailure(outbox.append("node", results("b")), NotADirectoryError)
        self.folder.unlink()
        moved.rename(self.folder)
        with capturedLogs() as events:
            await outbox.append("node", results("b"))
        self.assertEqual(events, [])


class PermissionTests(OutboxTestCase):
    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() == 0:  # whom no permission holds up
            self.folder = Path(tempfile.mkdtemp())
            self.addCleanup(shutil.rmtree, self.folder)
            self.held = Folder(str(self.folder))
            self.addCleanup(self.held.release)
            self.addCleanup(os.seteuid, 0)
            os.chown(self.folder, 65534, 65534)
            os.seteuid(65534)

    async def test_taken_and_given_back(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", results("a"))
        for mode in (0, 0o600):
            self.folder.chmod(mode)
            await self.assertFailure(outbox.append("node", results("no")), PermissionError)
        self.folder.chmod(0o700)
        await outbox.append("node", results("b"))
        outbox, found = await self.reopened(outbox)
        self.assertEqual([entry.result.task_id for entry in found], ["a", "b"])

    async def test_at_the_start(self) -> None:
        self.folder.chmod(0o500)
        await self.assertFailure(self.make().open(), PermissionError)
        self.folder.chmod(0o700)
        file = self.folder / "outbox.sqlite3"
        file.touch(0o400)
        error = await self.assertFailure(self.make().open(), StartupError)
        self.assertIn(f"{file} can't be used (Permission denied)", str(error))


class NewFileTests(OutboxTestCase):
    """Making a damaged file anew fails half way."""

    def setUp(self) -> None:
        super().setUp()
        self.obstacle = self.folder / "outbox.sqlite3.making"

    async def test_at_the_start(self) -> None:
        outbox, _ = await self.open()
        await outbox.append("node", [TaskResult(f"task-{n}", 2, "x" * 500) for n in range(400)])
        await self.close(outbox)
        data = bytearray(self.file.read_bytes())
        data[10 * 4096 : 11 * 4096] = b"\x5a" * 4096
        self.file.write_bytes(data)
        self.obstacle.mkdir()
        outbox = self.make()
        for _ in range(2):
            await self.assertFailure(outbox.open(), OSError)
        self.obstacle.rmdir()
        self.assertGreater(len(await outbox.open()), 380)

    async def test_later(self) -> None:
        outbox, _ = await self.open()
        entries = await outbox.append("node", results("a", "b"))
        db = sqlite3.connect(self.file)
        db.execute("DROP TABLE refused")
        db.close()
        self.obstacle.mkdir()
        for _ in range(2):
            await self.assertFailure(outbox.refuse(entries[0], "no"), OSError)
        self.obstacle.rmdir()
        await outbox.refuse(entries[0], "no")
        self.assertEqual(await outbox.count_put_aside(), 1)
        self.assertEqual(await outbox.open(), entries[1:])

    async def test_a_run_that_was_killed_before_the_end(self) -> None:
        """The new file is complete, but not in its place yet; what is there is damaged still, or gone."""
        outbox, _ = await self.open()
        entries = await outbox.append("node", results("a", "b"))
        await self.close(outbox)
        for left in (b"", b"damaged"):
            self.file.rename(self.folder / "outbox.sqlite3.new")
            if left:
                self.file.write_bytes(left)
            outbox, found = await self.open()
            self.assertEqual(found, entries)
            await self.close(outbox)


class OperatorTests(OutboxTestCase):
    """What a person does with results that are pending or put aside."""

    async def kept(self, outbox: Outbox) -> list[tuple[Any, ...]]:
        found = await outbox.kept(100)
        self.assertTrue(all(entry.age is not None and 0 <= entry.age < 60 for entry in found))
        return [(entry.state, entry.task_id, entry.result, entry.tries, entry.words) for entry in found]

    async def test_looking_at_them(self) -> None:
        outbox, _ = await self.open()
        one, two, _ = await outbox.append("node", results("a", "b", "c"))
        await outbox.note(evolve(two, tries=3, waited=7.5), "HTTP status 500: no")
        await outbox.refuse(evolve(one, tries=20), "HTTP status 404: gone")
        expected = [
            (PUT_ASIDE, "a", "of a", 20, "HTTP status 404: gone"),
            (PENDING, "b", "of b", 3, "HTTP status 500: no"),
            (PENDING, "c", "of c", 0, ""),
        ]
        self.assertEqual(await self.kept(outbox), expected)
        self.assertEqual(len(await outbox.kept(2)), 2)
        outbox, found = await self.reopened(outbox)
        self.assertEqual([(entry.tries, entry.waited) for entry in found], [(3, 7.5), (0, 0.0)])
        self.assertEqual(await self.kept(outbox), expected)

    async def test_retrying(self) -> None:
        outbox, _ = await self.open()
        one, two = await outbox.append("node", results("a", "b"))
        await outbox.refuse(evolve(one, tries=20), "no")
        (again,) = await outbox.retry([one.seq, two.seq, 99])
        self.assertGreater(again.seq, two.seq)
        self.assertEqual((again.result, again.node_id, again.tries), (one.result, "node", 0))
        self.assertEqual(await outbox.count_put_aside(), 0)
        outbox, found = await self.reopened(outbox)
        self.assertEqual(found, [two, again])

    async def test_discarding(self) -> None:
        outbox, _ = await self.open()
        one, two, three = await outbox.append("node", results("a", "b", "c"))
        await outbox.refuse(one, "no")
        self.assertEqual(
            await outbox.discard([one.seq, two.seq, 99]), [(one.seq, "a", PUT_ASIDE), (two.seq, "b", PENDING)]
        )
        self.assertEqual([entry.seq for entry in await outbox.kept(9)], [three.seq])

    async def test_an_outbox_of_an_earlier_version(self) -> None:
        with sqlite3.connect(self.file) as db:
            db.executescript(
                "CREATE TABLE pending (seq INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL,"
                " node_id TEXT NOT NULL, status INTEGER NOT NULL, result TEXT NOT NULL);"
                "CREATE TABLE refused (seq INTEGER PRIMARY KEY, task_id TEXT NOT NULL, node_id TEXT NOT NULL,"
                " status INTEGER NOT NULL, result TEXT NOT NULL, words TEXT NOT NULL,"
                " refused_at REAL NOT NULL);"
                "INSERT INTO pending VALUES (7, 'a', 'node', 2, 'of a');"
                "INSERT INTO refused VALUES (3, 'b', 'node', 4, 'of b', 'no', 5.0);"
            )
        outbox, found = await self.open()
        self.assertEqual(found, [Entry(7, "node", TaskResult("a", 2, "of a"))])
        self.assertEqual(
            [(entry.seq, entry.words, entry.age) for entry in await outbox.kept(9)],
            [(3, "no", None), (7, "", None)],
        )


class ThreadTests(OutboxTestCase):
    async def test_the_disk_is_not_used_in_the_reactors_thread(self) -> None:
        outbox, _ = await self.open()
        threads = {await outbox._run(lambda db: get_ident()) for _ in range(5)}
        self.assertEqual(len(threads), 1)
        self.assertNotIn(get_ident(), threads)

    async def test_a_slow_disk_holds_up_nobody_but_the_waiting(self) -> None:
        """Another process has the file locked: an append waits for it, the reactor does not."""
        outbox, _ = await self.open()
        other = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        appended = outbox.append("node", results("a"))
        later = outbox.append("node", results("b"))
        await self.turn()
        self.assertFalse(appended.called)
        other.execute("COMMIT")
        (entry,) = await appended
        self.assertEqual(entry.result.task_id, "a")
        self.assertEqual((await later)[0].result.task_id, "b")

    async def test_a_lock_that_lasts_is_waited_for_half_a_second(self) -> None:
        outbox, _ = await self.open()
        other = sqlite3.connect(self.file, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        await self.assertFailure(outbox.append("node", results("a")), sqlite3.OperationalError)
        self.assertLess(time.monotonic() - began, LOCK_WAIT + 1)

    def turn(self) -> Deferred[None]:
        """:returns: a Deferred that fires once the reactor has turned."""
        from twisted.internet import reactor

        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)
        return turned

    async def test_closing_waits_for_what_was_asked_before(self) -> None:
        outbox, _ = await self.open()
        appended = outbox.append("node", results("a"))
        await self.close(outbox)
        self.assertTrue(appended.called)
        _, found = await self.open()
        self.assertEqual([entry.result.task_id for entry in found], ["a"])
