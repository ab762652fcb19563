"""Tests for scfd.reports.state_dir, in real folders."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from scfd.errors import StartupError
from scfd.reports.state_dir import LOOK, WAIT, Folder, InUseError, StateDir


class HurriedClock:
    """Time passes as soon as somebody waits for it."""

    def __init__(self) -> None:
        self.now = 0.0

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, what: Any, *args: Any) -> Any:
        from twisted.internet import reactor  # not before the package's __init__ has chosen it

        self.now += delay
        return reactor.callLater(0, what, *args)


class StateDirTests(TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.clock = HurriedClock()
        self.path = Path(self.mktemp()) / "deep" / "state"

    async def started(self, path: Path) -> StateDir:
        state_dir = StateDir(Folder(str(path)), self.clock)
        await state_dir.startService()
        self.addCleanup(state_dir.stopService)
        return state_dir

    async def mistake(self, path: Path) -> str:
        state_dir = StateDir(Folder(str(path)), self.clock)
        try:
            await state_dir.startService()
        except StartupError as error:
            return str(error)
        finally:
            state_dir.stopService()
        self.fail("it started")

    async def test_makes_the_folder_for_its_owner_alone(self) -> None:
        await self.started(self.path)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o700)

    async def test_keeps_a_second_node_out(self) -> None:
        await self.started(self.path)
        self.assertEqual(
            await self.mistake(self.path),
            f"system.state_dir: {self.path} is in use by another node; give each node a folder of its own",
        )

    async def test_a_node_that_is_still_ending_is_waited_for(self) -> None:
        first = await self.started(self.path)
        wait = self.clock.callLater

        def stop_first(delay: float, what: Any, *args: Any) -> Any:
            if self.clock.now > WAIT - 2 * LOOK:
                first.stopService()
            return wait(delay, what, *args)

        self.patch(self.clock, "callLater", stop_first)
        with capturedLogs() as events:
            await self.started(self.path)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"waiting up to 5 s for the node that uses {self.path} to end"],
        )

    async def test_a_disk_without_room_for_the_lock_is_left_to_the_outbox(self) -> None:
        self.path.mkdir(parents=True)
        for number in (errno.ENOSPC, errno.EROFS):
            error = OSError(number, os.strerror(number))
            patch = self.patch(os, "open", lambda *args, error=error, **named: self.raises(error))
            await self.started(self.path)
            patch.restore()
            self.assertFalse((self.path / "lock").exists())

    async def test_a_folder_that_can_not_be_made_on_a_read_only_disk(self) -> None:
        error = OSError(errno.EROFS, "Read-only file system")
        self.patch(Path, "mkdir", lambda *args, **named: self.raises(error))
        self.assertIn("can't be written (Read-only file system)", await self.mistake(self.path))

    def raises(self, error: Exception) -> Any:
        raise error

    async def test_a_folder_that_was_deleted_is_made_and_locked_again(self) -> None:
        folder = Folder(str(self.path))
        self.addCleanup(folder.release)
        folder.take()
        shutil.rmtree(self.path)
        folder.take()
        self.assertRaises(InUseError, Folder(str(self.path)).take)

    async def test_a_folder_that_somebody_else_made_meanwhile(self) -> None:
        folder, other = Folder(str(self.path)), Folder(str(self.path))
        self.addCleanup(folder.release)
        self.addCleanup(other.release)
        folder.take()
        self.path.rename(self.path.with_name("moved"))
        other.take()
        self.assertRaises(InUseError, folder.take)
        other.release()
        folder.take()

    async def test_who_was_kept_out_does_not_end_the_lock(self) -> None:
        await self.started(self.path)
        await self.mistake(self.path)
        self.assertIn("is in use by another node", await self.mistake(self.path))

    async def test_can_be_used_again_once_stopped(self) -> None:
        first = await self.started(self.path)
        first.stopService()
        await self.started(self.path)

    async def test_a_link(self) -> None:
        """In /tmp somebody else may have put one there."""
        target = self.path.parent / "elsewhere"
        target.mkdir(parents=True)
        self.path.symlink_to(target.absolute())
        self.assertEqual(
            await self.mistake(self.path),
            f"system.state_dir: {self.path} is a link; expected a folder of its own",
        )

    async def test_a_folder_of_another_user(self) -> None:
        self.path.mkdir(parents=True)
        self.patch(os, "geteuid", lambda: 12345)
        self.assertEqual(
            await self.mistake(self.path),
            f"system.state_dir: {self.path} belongs to user {os.getuid()}; "
            "expected a folder of this user's own (12345)",
        )

    async def test_a_file_in_its_place(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.path.write_text("not a folder")
        self.assertEqual(
            await self.mistake(self.path),
            f"system.state_dir: {self.path} can't be written (File exists); "
            "name a folder that this process may write to",
        )

    async def test_a_folder_that_may_not_be_written(self) -> None:
        if os.geteuid() == 0:
            # Root may write anywhere but where the kernel itself says no.
            folder, reason = Path("/proc/scfd"), "No such file or directory"
        else:
            folder, reason = self.path, "Permission denied"
            self.path.mkdir(parents=True)
            self.path.chmod(0o500)
            self.addCleanup(self.path.chmod, 0o700)
        self.assertEqual(
            await self.mistake(folder),
            f"system.state_dir: {folder} can't be written ({reason}); "
            "name a folder that this process may write to",
        )
