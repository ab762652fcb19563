"""Where log lines go."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from scfd.logs.files import log_file
from scfd.logs.formats import FORMATS, Format, coloured_text_line, text_line
from scfd.logs.levels import Levels, levels
from scfd.logs.repeats import Repeats
from scfd.status.metrics import Count, Metrics

if TYPE_CHECKING:
    from scfd.config import LogSettings
    from scfd.logs.cls import ToCls
    from scfd.status.readiness import Readiness

_log = Logger(namespace="scfd.log")

#: Seconds in which events that can't be written as they are get one line.
UNFORMATTABLE_EACH = 10.0

#: How lines are written, and what sums up those that repeat, in this process; see `set_up`.
_format: list[Format] = [text_line]
repeats: list[Repeats] = []
#: What sends them to CLS as well, where the config asks for it.
to_cls: list[ToCls] = []
#: Lines that could not be written to the file, and to standard output.
not_written, not_shown = Count(), Count()


def set_up(settings: LogSettings) -> None:
    """
    Take the config's ``log`` section, before the log begins. With ``SCFD_DEBUG`` in the environment set to
    anything, the level is debug.
    """
    levels.use("debug" if os.environ.get("SCFD_DEBUG") else settings.level, settings.levels)
    _format[0] = FORMATS[settings.format]
    log_file.max_size, log_file.max_age = settings.max_size, settings.max_age
    log_file.keep, log_file.path = settings.keep, settings.file
    if settings.cls is not None:
        from scfd.logs.cls import make_to_cls  # 20 ms that other nodes save

        to_cls[:] = [make_to_cls(settings.cls, levels)]


def watch(metrics: Metrics, readiness: Readiness) -> Callable[[float], None]:
    """
    Have the figures of the log among the node's, and what is wrong with its file among its problems.

    :returns: to be called each second.
    """
    for summed in repeats:
        summed.left_out = metrics.log_lines_summed
    lost = {output: metrics.log_lines_lost.labels(output) for output in ("cls", "file", "stdout")}

    def look(moment: float) -> None:
        lost["file"].value, lost["stdout"].value = not_written.value, not_shown.value
        if not log_file.problem:
            readiness.well("log file")
        elif readiness.warning("log file", log_file.problem, "see that its folder is there, with room in it"):
            _log.error("log.file: {problem}", problem=log_file.problem)
        for one in to_cls:
            one.look()
            lost["cls"].value = one.lost

    return look


def finish() -> None:
    """Say and send what is left; to be called when nothing else runs any more."""
    for summed in repeats:
        summed.flush()
    for one in to_cls:
        one.close()


def console() -> ILogObserver:
    """
    The observer for a node in the foreground; ``twistd --logger scfd.logs.console`` calls this.

    It writes to standard output, and to the file of ``log.file`` as well. There is no colour with
    ``NO_COLOR`` in the environment, nor where standard output is no terminal.
    """
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and _format[0] is text_line
    screen = ConsoleObserver(sys.stdout, coloured_text_line if colour else _format[0], levels)
    if not log_file.path:
        return _summing_up(screen)
    file = _FileObserver(_format[0], levels)

    def both(event: LogEvent) -> None:
        screen(event)
        file(event)

    return _summing_up(both)


def file_observer() -> ILogObserver:
    """The observer for `scfd.logs.log_file` alone; twistd calls this."""
    return _summing_up(_FileObserver(_format[0], levels))


def _summing_up(behind: Callable[[LogEvent], None]) -> ILogObserver:
    def all_of_them(event: LogEvent) -> None:
        behind(event)
        for also in to_cls:
            also(event)

    made = Repeats(all_of_them)
    repeats[:] = [made]
    return made


class _Observer:
    """
    Makes lines.

    :param format: makes them.
    :param levels: says which events are shown.
    """

    def __init__(self, format: Format, levels: Levels) -> None:
        self._format = format
        self._levels = levels
        #: When the last event that could not be formatted was written, and how many were not since.
        self._said_at, self._left_out = -UNFORMATTABLE_EACH, 0

    def line(self, event: LogEvent) -> str:
        """What is to be written; empty for nothing. Never raises."""
        try:
            return self._format(event) if self._levels.shows(event) else ""
        except Exception as error:
            return self._unformatted(event, error)

    def _unformatted(self, event: LogEvent, error: Exception) -> str:
        """A line in place of the event's own, or nothing: whatever is wrong may be wrong with all of them."""
        now = time.monotonic()
        if now - self._said_at < UNFORMATTABLE_EACH:
            self._left_out += 1
            return ""
        more = f"; {self._left_out} more lines were lost" if self._left_out else ""
        self._said_at, self._left_out = now, 0
        return f"a log line could not be formatted ({error!r}{more}): {event.get('log_format')!r}\n"


@implementer(ILogObserver)
class _FileObserver(_Observer):
    """Writes to `scfd.logs.log_file`."""

    def __init__(self, format: Format, levels: Levels) -> None:
        super().__init__(format, levels)
        log_file.open()

    def __call__(self, event: LogEvent) -> None:
        text = self.line(event)
        if text:
            try:
                log_file.write(text)
            except OSError:
                # A full disk may have room again for the next event.
                not_written.inc()


@implementer(ILogObserver)
class ConsoleObserver(_Observer):
    """Writes to a stream, which is flushed after every event. Once its reader is gone, events are dropped."""

    def __init__(self, stream: TextIO, format: Format = text_line, levels: Levels | None = None) -> None:
        super().__init__(format, levels or Levels())
        self._stream = stream
        self._reader_gone = False

    def __call__(self, event: LogEvent) -> None:
        """Write one event. Never raises."""
        if event.get("on_stderr"):
            return  # its author has told the person at the terminal already
        if self._reader_gone:
            not_shown.inc()
            return
        text = self.line(event)
        if text:
            self._write(text)

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (BrokenPipeError, ValueError):  # ValueError: the stream was closed
            self._reader_gone = True
            self._discard_buffer()
            not_shown.inc()
        except OSError:
            # A full disk or pipe may have room again for the next event.
            not_shown.inc()

    def _discard_buffer(self) -> None:
        """Send what is still buffered to nowhere: a flush that fails at exit makes the status 120."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)
