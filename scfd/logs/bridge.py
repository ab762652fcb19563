"""What plugins and libraries log with the standard library."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import suppress
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from scfd.logs.fields import EXTRA

#: From a level of the standard library on, ours.
_LEVELS = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)
#: What each record has; the rest is ``extra``.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def bridge_stdlib(logger: logging.Logger | None = None) -> None:
    """
    Send what is logged through `logging` to `twisted.logger`. A second call for a logger changes nothing.

    :param logger: the root logger, which all others hand their records to, when left out.
    """
    source = logger or logging.getLogger()
    if not any(isinstance(handler, _TwistedHandler) for handler in source.handlers):
        source.addHandler(_TwistedHandler())


class _TwistedHandler(logging.Handler):
    """
    Logs each record again as an event whose namespace is the name of the record's logger.

    What observers log while they are given a record would reach them again, without end: standard error is
    told instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_this_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(self._in_this_thread, "busy", False):
            with suppress(Exception):  # nobody is left who could be told
                print(f"{record.name}: {record.getMessage()}", file=sys.__stderr__)
            return
        self._in_this_thread.busy = True
        try:
            self._log(record)
        finally:
            self._in_this_thread.busy = False

    def _log(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{record.msg} ({error})"
        extra = {f"{EXTRA}{name}": value for name, value in vars(record).items() if name not in _USUAL}
        fields: dict[str, Any] = {**extra, "text": text}
        if record.exc_info and record.exc_info[1]:
            kind, value, where = record.exc_info
            fields["log_failure"] = Failure(value, kind, where)
        level = next((ours for least, ours in _LEVELS if record.levelno >= least), LogLevel.debug)
        Logger(namespace=record.name).emit(level, "{text}", **fields)
