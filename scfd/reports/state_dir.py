"""The one folder that a node writes to, and the lock that keeps a second node out of it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from scfd.errors import StartupError

_log = Logger(namespace="scfd.reports")

#: Seconds that a start waits for another node to leave the folder, and between two looks.
WAIT, LOOK = 5.0, 0.25
#: Reasons of the system that pass by themselves. At any other one a start fails: somebody has to act.
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ESTALE,
        errno.ENOLCK,
    }
)


def make_state_dir(path: str) -> None:
    """:raises StartupError: when it can't be made, or is not this user's own."""
    try:
        _make(Path(path))
    except OSError as error:
        raise unusable(path, "written", error.strerror) from error


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In a folder such as /tmp somebody else may have been there first.
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise StartupError(f"system.state_dir: {path} is a link; expected a folder of its own")
    if found.st_uid != os.geteuid():
        raise StartupError(
            f"system.state_dir: {path} belongs to user {found.st_uid}; expected a folder of this "
            f"user's own ({os.geteuid()})"
        )


def unusable(path: Path | str, how: str, reason: object) -> StartupError:
    """:param how: what can't be done with it, such as ``written``."""
    return StartupError(
        f"system.state_dir: {path} can't be {how} ({reason}); name a folder that this process may write to"
    )


class InUseError(OSError):
    """Another process holds the folder."""


class Folder:
    """
    Makes the folder, and holds it. The lock is the kernel's: it ends with the process, however that ends.

    :ivar path: ``system.state_dir``.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._lock_path = os.path.join(path, "lock")
        self._lock: int | None = None

    def take(self) -> None:
        """
        Have the folder at its path, and its lock: again, if somebody has moved or deleted either.

        :raises OSError: it can't be made, locked or looked at; `InUseError` when another process has it.
        :raises StartupError: it is a link, or belongs to another user.
        """
        if self._is_held():
            return
        _make(self.path)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise InUseError(error.errno, f"{self.path} is in use by another node") from error
            raise
        self.release()
        self._lock = lock

    def release(self) -> None:
        """Leave it to others."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_held(self) -> bool:
        if self._lock is not None:
            with suppress(FileNotFoundError):
                return os.path.samestat(os.fstat(self._lock), os.stat(self._lock_path))
        return False


class StateDir(Service):
    """Holds the folder from before anything else starts until everything else has stopped."""

    def __init__(self, folder: Folder, clock: Any) -> None:
        self._folder = folder
        self._clock = clock

    def startService(self) -> Deferred[None]:
        """
        :returns: a Deferred that fails with `StartupError` when the folder can't be used, or is in use for
            longer than `WAIT`. Trouble that passes, such as a full disk, is left to the outbox, which waits.
        """
        super().startService()
        return Deferred.fromCoroutine(self._take())

    def stopService(self) -> None:
        super().stopService()
        self._folder.release()

    async def _take(self) -> None:
        began = self._clock.seconds()
        waiting = False
        while True:
            try:
                await deferToThread(self._folder.take)
                return
            except InUseError as error:
                if self._clock.seconds() - began >= WAIT:
                    raise StartupError(
                        f"system.state_dir: {self._folder.path} is in use by another node; "
                        "give each node a folder of its own"
                    ) from error
            except OSError as error:
                # A disk with errors is made read-only; where the folder can't be made, it is the wrong place.
                read_only = error.errno == errno.EROFS and self._folder.path.is_dir()
                if read_only or error.errno in PASSING:
                    return
                raise unusable(self._folder.path, "written", error.strerror) from error
            if not waiting:
                waiting = True
                _log.info(
                    "waiting up to {wait:g} s for the node that uses {path} to end",
                    wait=WAIT,
                    path=str(self._folder.path),
                )
            await deferLater(self._clock, LOOK)
