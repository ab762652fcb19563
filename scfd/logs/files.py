"""The log file: opened, rotated, opened again."""

from __future__ import annotations

import fcntl
import os
import threading
import time

from twisted.logger import Logger
from twisted.python import logfile

_log = Logger(namespace="scfd.node")


class LogFile:
    """
    The file of ``log.file``, of ``--logfile``, or a daemon's ``scfd.log`` in the state folder.

    :ivar path: empty for none; set before the log begins.
    :ivar max_size: bytes; a file that would grow beyond them gets a number, and a new one begins.
    :ivar max_age: seconds, after which the same happens; 0 for never.
    :ivar keep: how many numbered files are kept.
    """

    def __init__(self) -> None:
        self.path = ""
        self.max_size, self.max_age, self.keep = 10 << 20, 0.0, 5
        self._file: _File | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """:raises OSError: it can't be written."""
        folder, name = os.path.split(os.path.abspath(self.path))
        self._file = _File(name, folder, self.max_size, None, self.keep)
        self._file.max_age = self.max_age

    def write(self, text: str) -> None:
        """:raises OSError: the disk refuses."""
        if self._file is not None:
            with self._lock:  # plugins log in threads as well
                self._file.write(text)

    def reopen(self) -> None:
        """Go on in a new file of the same name, since somebody has moved this one away."""
        if self._file is None:
            _log.info("SIGHUP: there is no log file to open again")
            return
        try:
            self._file.reopen()
        except OSError as error:
            _log.error("SIGHUP: can't open {path} again: {error}", path=self.path, error=error.strerror)
        else:
            _log.info("SIGHUP: opened {path} again", path=self.path)

    def rotate(self) -> None:
        """Give the file a number and begin a new one, as twistd does at SIGUSR1."""
        if self._file is not None:
            self._file.rotate()


class _File(logfile.LogFile):
    """:ivar max_age: see `LogFile`."""

    max_age = 0.0
    _began = 0.0

    def reopen(self) -> None:
        """Open the file by its name again. When that fails, the old one is written on."""
        old = self._file
        self._openFile()
        old.close()

    def _openFile(self) -> None:  # noqa: N802 - Twisted's name
        super()._openFile()
        # A daemon that can't start, since this one runs, says so in the same file: each adds to its end.
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)
        # Another run may have begun it.
        self._began = min(os.stat(self.path).st_ctime, time.time()) if not self.size else self._oldest()

    def _oldest(self) -> float:
        return os.stat(self.path).st_mtime

    def shouldRotate(self) -> bool:  # noqa: N802 - Twisted's name
        too_old = bool(self.max_age) and time.time() - self._began >= self.max_age
        return too_old or bool(super().shouldRotate())


#: That of this process.
log_file = LogFile()
