"""The log file: opened, rotated, opened again."""

from __future__ import annotations

import os
import re
import threading
import time
from datetime import datetime, timezone

from twisted.logger import Logger

_log = Logger(namespace="scfd.node")

#: Seconds from a rotation that has failed to the next try.
ROTATE_AGAIN = 60.0
#: When a line was written, in each format.
_TIME = re.compile(r".{0,12}?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)[.\d]*(Z?)")


class LogFile:
    """
    The file of ``log.file``, of ``--logfile``, or a daemon's ``scfd.log`` in the state folder.

    :ivar path: empty for none; set before the log begins.
    :ivar max_size: bytes; a file that would grow beyond them gets a number, and a new one begins.
    :ivar max_age: seconds, after which the same happens; 0 for never.
    :ivar keep: how many numbered files are kept.
    :ivar problem: why lines are lost, or the file grows beyond its bounds; empty when all is well.
    """

    def __init__(self) -> None:
        self.path = self.problem = ""
        self.max_size, self.max_age, self.keep = 10 << 20, 0.0, 5
        self._file = -1  # its descriptor
        self._size, self._began, self._rotate_after = 0, 0.0, 0.0
        self._torn = False  # its last line has no end
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the file by its name. When that fails, the one that is open is written on.

        :raises OSError: it can't be written.
        """
        # A daemon that can't start, since this one runs, says so in the same file: each adds to its end.
        old, self._file = self._file, os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        if old != -1:
            os.close(old)
        self._size = os.fstat(self._file).st_size
        self._began = self._beginning() if self._size else time.time()

    def _beginning(self) -> float:
        """When the file that another run has begun was: as its first line says."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            found = _TIME.match(file.readline(100))
        if found is None:
            return os.stat(self.path).st_mtime
        moment = datetime.fromisoformat(found[1])
        return (moment.replace(tzinfo=timezone.utc) if found[2] else moment).timestamp()

    def write(self, text: str) -> None:
        """:raises OSError: the disk refuses."""
        if self._file == -1:
            return
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:  # plugins log in threads as well
            problem = ""
            try:
                if not os.fstat(self._file).st_nlink:
                    self.open()  # somebody has deleted it, perhaps with its folder
                problem = self._rotate_in_time(len(data))
                data = b"\n" + data if self._torn else data
                written = os.write(self._file, data)
                self._size += written
                self._torn = written < len(data)
            except OSError as error:
                problem = f"{self.path} can't be written: {error.strerror}"
                raise
            finally:
                self.problem = problem

    def _rotate_in_time(self, more: int) -> str:
        """:returns: why it could not be rotated; empty when it need not be."""
        too_large = self._size + more > self.max_size
        too_old = bool(self.max_age) and time.time() - self._began >= self.max_age
        if not self._size or not (too_large or too_old):
            return ""
        if time.monotonic() < self._rotate_after:
            return self.problem
        try:
            self._rotate()
        except OSError as error:
            self._rotate_after = time.monotonic() + ROTATE_AGAIN
            return f"{self.path} can't be rotated, and grows: {error.strerror}"
        return ""

    def _rotate(self) -> None:
        folder, name = os.path.split(os.path.abspath(self.path))
        numbers = [one[len(name) + 1 :] for one in os.listdir(folder) if one.startswith(f"{name}.")]
        for number in sorted((int(one) for one in numbers if one.isdecimal()), reverse=True):
            if number >= self.keep:
                os.remove(f"{self.path}.{number}")
            else:
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.replace(self.path, f"{self.path}.1")
        self.open()

    def reopen(self) -> None:
        """Go on in a new file of the same name, since somebody has moved this one away."""
        if self._file == -1:
            _log.info("SIGHUP: there is no log file to open again")
            return
        try:
            with self._lock:
                self.open()
        except OSError as error:
            _log.error("SIGHUP: can't open {path} again: {error}", path=self.path, error=error.strerror)
        else:
            _log.info("SIGHUP: opened {path} again", path=self.path)

    def rotate(self) -> None:
        """Give the file a number and begin a new one, as twistd does at SIGUSR1."""
        if self._file == -1:
            return
        try:
            with self._lock:
                self._rotate()
        except OSError as error:
            _log.error("SIGUSR1: can't rotate {path}: {error}", path=self.path, error=error.strerror)


#: That of this process.
log_file = LogFile()
