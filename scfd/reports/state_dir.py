"""The one folder that a node writes to, and the lock that keeps a second node out of it."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from scfd.errors import StartupError


def make_state_dir(path: str) -> None:
    """:raises StartupError: when it can't be made, or is not this user's own."""
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: OSError) -> StartupError:
    return StartupError(
        f"system.state_dir: {path} can't be written ({error.strerror}); "
        "name a folder that this process may write to"
    )


def _check_owner(path: str) -> None:
    """In a folder such as /tmp somebody else may have been there first."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise StartupError(f"system.state_dir: {path} is a link; expected a folder of its own")
    if found.st_uid != os.geteuid():
        raise StartupError(
            f"system.state_dir: {path} belongs to user {found.st_uid}; expected a folder of this "
            f"user's own ({os.geteuid()})"
        )


class StateDir(Service):
    """
    Makes the folder, and holds it. The lock is the kernel's: it ends with the process, however that ends.

    :param path: ``system.state_dir``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock: int | None = None

    def startService(self) -> Deferred[None]:
        """:returns: a Deferred that fails with `StartupError` when the folder can't be used or is in use."""
        super().startService()
        return deferToThread(self._take)

    def stopService(self) -> None:
        super().stopService()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self) -> None:
        make_state_dir(self._path)
        try:
            lock = os.path.join(self._path, "lock")
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self._path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"system.state_dir: {self._path} is in use by another node; "
                "give each node a folder of its own"
            ) from error
