"""From the records of Python's logging to the entries of CLS."""

from __future__ import annotations

import logging
import time
import traceback

from scf_log.config import CLSConfig
from scf_log.producer import AsyncProducer

TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
#: What every record has; all else came with ``extra=``. ``message`` and ``asctime`` are formatters' notes.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: Spellings of levels that `logging` itself does not know, besides lower case.
_SHORT: dict[int | str, int | str] = {"ERR": "ERROR", "CRIT": "CRITICAL", "TRACE": "DEBUG"}


class CLSHandler(logging.Handler):
    """
    Sends each record with the fields Time, Level, Msg, Caller (``file:line``), func, Name, with StackTrace
    where there is an exception, and with the context's and the record's own (``extra=``).

    :param level: below it nothing is sent.
    :param time_format: of ``Time``, which is local time.
    """

    def __init__(
        self, config: CLSConfig, level: int | str = logging.DEBUG, time_format: str = TIME_FORMAT
    ) -> None:
        if isinstance(level, str):
            level = level.strip().upper()
        super().__init__(_SHORT.get(level, level))
        self._field_map = dict(config.field_map)
        self._time_format = time_format
        self._context: dict[str, str] = {}
        self._second = (0, "")
        self.producer = AsyncProducer(config)

    def set_context_fields(self, **fields: object) -> None:
        """Have these in every entry from here on, besides those set before."""
        self._context = {**self._context, **{name: str(value) for name, value in fields.items()}}

    def emit(self, record: logging.LogRecord) -> None:
        """Never blocks, unless ``max_block_sec`` says so."""
        try:
            self.producer.send(self._fields(record), int(record.created * 1_000_000))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Send what waits now; at most `AsyncProducer.flush_limit` seconds."""
        self.producer.flush()

    def close(self) -> None:
        """Send what waits, and take nothing more."""
        self.producer.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {
            "Time": self._time(record.created),
            "Level": record.levelname,
            # A formatter of the user's own puts the traceback where it wants it.
            "Msg": record.getMessage() if self.formatter is None else self.format(record),
            "Caller": f"{record.filename}:{record.lineno}",
            "func": record.funcName or "",
            "Name": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["StackTrace"] = "".join(traceback.format_exception(*record.exc_info))
        for name, value in self._context.items():
            fields.setdefault(name, value)
        for name, value in vars(record).items():
            if name not in _OWN and name not in fields:
                fields[name] = str(value)
        if self._field_map:
            return {self._field_map.get(name, name): value for name, value in fields.items()}
        return fields

    def _time(self, created: float) -> str:
        """Made once a second: it is a third of an entry's cost otherwise."""
        second, text = self._second
        if second != int(created):
            second, text = int(created), time.strftime(self._time_format, time.localtime(created))
            self._second = (second, text)
        return text
