"""What a person reads on the terminal: one line an event, without Twisted's own chatter."""

from __future__ import annotations

import codecs
import logging
import os
import re
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import IO, Any, TextIO, cast

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, textFileLogObserver
from twisted.python import logfile
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger(namespace="scfd.node")

#: What Twisted says about itself at level info; the first words of the text.
_NOISE = re.compile(
    r"""Starting\ factory\ | Stopping\ factory\ |
        \S+(\ \(TLS\))?\ starting\ on\ | \(.*\ Port\ \S+\ Closed\)$ |
        twistd\ \S+\ \(.*\ starting\ up\.$ | reactor\ class: |
        EMFILE\ recovery:\  | Re-reserving\ EMFILE\  |
        Main\ loop\ terminated\. | Server\ Shut\ Down\. |
        Unable\ to\ write\ to\ plugin\ cache\ """,
    re.VERBOSE,
)

#: Line ends, terminal control, and what reorders or breaks a line on screen; half surrogate pairs too,
#: which no encoding accepts.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

#: Found now: Python would load it from disk at its first use, which fails while no file can be opened.
_as_escapes = codecs.getencoder("unicode_escape")

#: How Twisted begins the text of an event that it can't format.
_UNFORMATTABLE = ("Unable to format event ", "MESSAGE LOST: ")
#: Seconds in which events that can't be written as they are get one line.
UNFORMATTABLE_EACH = 10.0

_COLOUR = {LogLevel.debug: "2", LogLevel.warn: "33", LogLevel.error: "31", LogLevel.critical: "1;31"}

#: From a level of the standard library on, ours; below these it is a warning.
_LEVELS = ((logging.CRITICAL, LogLevel.critical), (logging.ERROR, LogLevel.error))


def console() -> ConsoleObserver:
    """
    The observer for a node in the foreground; ``twistd --logger scfd.logs.console`` calls this.

    It writes to standard output. Environment: with ``SCFD_DEBUG`` set to anything, debug events and
    Twisted's chatter are shown too; with ``NO_COLOR`` set, or when standard output is no terminal,
    there is no colour.
    """
    return ConsoleObserver(
        sys.stdout,
        colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        verbose=bool(os.environ.get("SCFD_DEBUG")),
    )


@implementer(ILogObserver)
@define(eq=False)
class ConsoleObserver:
    """
    Writes each event as ``2026-11-23 21:48:00.123 info  heartbeat    4 tasks received``.

    That is local time, level, namespace without the leading ``scfd.``, text. A failure's traceback
    follows, indented. Control characters are escaped, so that no text, wherever it comes from, can
    pass for another line.

    :ivar stream: where to; flushed after every event. Once its reader is gone, events are dropped.
    :ivar colour: colour the level.
    :ivar verbose: show debug events and Twisted's chatter too. Warnings and worse always show.
    """

    stream: TextIO
    colour: bool = False
    verbose: bool = False
    _reader_gone: bool = field(default=False, init=False)
    #: When the last event that could not be formatted was written, and how many were not since.
    _said_at: float = field(default=-UNFORMATTABLE_EACH, init=False)
    _left_out: int = field(default=0, init=False)

    def __call__(self, event: LogEvent) -> None:
        """Write one event. Never raises."""
        try:
            text = self._format(event)
        except Exception as error:
            text = self._unformatted(event, error)
        if text and not self._reader_gone:
            self._write(text)

    def _unformatted(self, event: LogEvent, error: Exception) -> str:
        """A line in place of the event's own, or nothing: whatever is wrong may be wrong with all of them."""
        now = time.monotonic()
        if now - self._said_at < UNFORMATTABLE_EACH:
            self._left_out += 1
            return ""
        more = f"; {self._left_out} more lines were lost" if self._left_out else ""
        self._said_at, self._left_out = now, 0
        return f"a log line could not be formatted ({error!r}{more}): {event.get('log_format')!r}\n"

    def _format(self, event: LogEvent) -> str:
        """The event as lines, or an empty string when it is not to be shown."""
        if event.get("on_stderr"):
            return ""  # its author has told the person at the terminal already
        level = event.get("log_level") or LogLevel.info
        text = _text(event)
        if level <= LogLevel.info and not self.verbose and (level < LogLevel.info or _NOISE.match(text)):
            return ""
        when = datetime.fromtimestamp(event["log_time"]).isoformat(" ", "milliseconds")
        shown_level = f"{level.name:<5}"
        if self.colour and level in _COLOUR:
            shown_level = f"\x1b[{_COLOUR[level]}m{shown_level}\x1b[0m"
        line = f"{when} {shown_level} {_escape(_area(event)):<12} {_escape(text)}\n"
        return line + "".join(f"    {_escape(part)}\n" for part in _traceback(event))

    def _write(self, text: str) -> None:
        encoding = self.stream.encoding or "utf-8"
        try:
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self.stream.flush()
        except (BrokenPipeError, ValueError):  # ValueError: the stream was closed
            self._reader_gone = True
            self._discard_buffer()
        except OSError:
            # A full disk or pipe may have room again for the next event.
            pass

    def _discard_buffer(self) -> None:
        """Send what is still buffered to nowhere: a flush that fails at exit makes the status 120."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self.stream.fileno())
            finally:
                os.close(nowhere)


class LogFile:
    """
    The file of ``--logfile``, by default a daemon's ``scfd.log`` in the state folder; none in the foreground.

    :ivar path: set before twistd asks for the observer, which it knows by the name of a function without
        parameters.
    """

    def __init__(self) -> None:
        self.path = ""
        self._file: _File | None = None

    def observer(self) -> ILogObserver:
        """An observer in Twisted's own form; twistd calls this once."""
        self._file = _File.fromFullPath(self.path)
        return textFileLogObserver(cast(IO[Any], self._file))

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
    """Grows to 1 MB, then it gets a number."""

    def reopen(self) -> None:
        """Open the file by its name again. When that fails, the old one is written on."""
        old = self._file
        self._openFile()
        old.close()


#: That of this process.
log_file = LogFile()


def bridge_stdlib(logger: logging.Logger | None = None) -> None:
    """
    Send what libraries log through :mod:`logging`, at warning and above, to :mod:`twisted.logger`.

    A second call for the same logger changes nothing.

    :param logger: the root logger, which nats-py's and asyncio's hand their records to, when left out.
    """
    source = logger or logging.getLogger()
    if not any(isinstance(handler, _TwistedHandler) for handler in source.handlers):
        source.addHandler(_TwistedHandler(logging.WARNING))


class _TwistedHandler(logging.Handler):
    """Logs each record again as an event whose namespace is the name of the record's logger."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{record.msg} ({error})"
        fields: dict[str, Any] = {"text": text}
        if record.exc_info and record.exc_info[1]:
            kind, value, where = record.exc_info
            fields["log_failure"] = Failure(value, kind, where)
        level = next((ours for least, ours in _LEVELS if record.levelno >= least), LogLevel.warn)
        Logger(namespace=record.name).emit(level, "{text}", **fields)


def _text(event: LogEvent) -> str:
    if _is_legacy_error(event):
        # Its formatted text has the traceback in it, which is shown below the line.
        return str(event.get("why") or "unhandled error")
    text = formatEvent(event)
    if text.startswith(_UNFORMATTABLE):
        # Braces in a text that is no format, or a field that is missing: Twisted would show all fields.
        return str(event.get("log_format"))
    return text


def _is_legacy_error(event: LogEvent) -> bool:
    """Whether the event comes from Twisted's old ``log.err``, which has names of its own for the fields."""
    return event.get("log_namespace") == "log_legacy" and "failure" in event


def _area(event: LogEvent) -> str:
    """The namespace, short: ``heartbeat`` for ``scfd.heartbeat``."""
    namespace = str(event.get("log_namespace", "-"))
    return "twisted" if namespace == "log_legacy" else namespace.removeprefix("scfd.")


def _traceback(event: LogEvent) -> list[str]:
    """The lines of a failure's traceback; none without a failure."""
    failure = event["failure"] if _is_legacy_error(event) else event.get("log_failure")
    if failure is None:
        return []
    try:
        text: str = failure.getTraceback()
    except Exception as error:
        text = f"no traceback to be had: {type(error).__name__}"
    return text.rstrip("\n").split("\n")


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: _as_escapes(found[0])[0].decode("ascii"), text)
