"""Log events as lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from twisted.logger import LogEvent, LogLevel

from scfd.events.wire import to_json
from scfd.logs.fields import escape, level_of, namespace_of, record, text_of, traceback_of

#: Makes a line, or several, of an event.
Format = Callable[[LogEvent], str]

_COLOUR = {LogLevel.debug: "2", LogLevel.warn: "33", LogLevel.error: "31", LogLevel.critical: "1;31"}
#: What logfmt has without quotes.
_BARE = re.compile(r"[^\s\"=\\]+")


def text_line(event: LogEvent) -> str:
    """
    ``2026-11-23 21:48:00.123 info  heartbeat    4 tasks received``: local time, level, namespace, message.

    A traceback follows, indented. Control characters are escaped, so that no text, wherever it comes from,
    can pass for another line.
    """
    return _text_line(event, "")


def coloured_text_line(event: LogEvent) -> str:
    """The same with a colour for the level."""
    return _text_line(event, _COLOUR.get(level_of(event), ""))


def _text_line(event: LogEvent, colour: str) -> str:
    when = datetime.fromtimestamp(event["log_time"]).isoformat(" ", "milliseconds")
    level = f"{level_of(event).name:<5}"
    if colour:
        level = f"\x1b[{colour}m{level}\x1b[0m"
    area = namespace_of(event).removeprefix("scfd.")
    traceback = traceback_of(event)
    lines = traceback.split("\n") if traceback else []
    whole = f"{when} {level} {escape(area):<12} {escape(text_of(event))}\n"
    return whole + "".join(f"    {escape(line)}\n" for line in lines)


def json_line(event: LogEvent) -> str:
    """One JSON object: see `scfd.logs.fields.record`."""
    return to_json(record(event)).decode("ascii") + "\n"


def logfmt_line(event: LogEvent) -> str:
    """The same as ``name=value`` pairs; names of what is inside an object have a dot."""
    return " ".join(_pairs(record(event), "")) + "\n"


def _pairs(values: Mapping[str, Any], prefix: str) -> list[str]:
    pairs: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += _pairs(value, f"{prefix}{name}.")
        else:
            pairs.append(f"{prefix}{name}={_logfmt(value)}")
    return pairs


def _logfmt(value: Any) -> str:
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    return text if _BARE.fullmatch(text) and text.isprintable() else to_json(text).decode("ascii")


FORMATS: Mapping[str, Format] = {"text": text_line, "json": json_line, "logfmt": logfmt_line}
