"""What a log event is made of, whoever has logged it."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

from scfd.events.event import current_event
from scfd.events.trace import ids
from scfd.events.wire import rfc3339

#: Line ends, terminal control, and what reorders or breaks a line on screen; half surrogate pairs too,
#: which no encoding accepts.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Found now: Python would load it from disk at its first use, which fails while no file can be opened.
_as_escapes = codecs.getencoder("unicode_escape")
#: How Twisted begins the text of an event that it can't format.
_UNFORMATTABLE = ("Unable to format event ", "MESSAGE LOST: ")
#: Fields of an event that a record has under names of its own, or in its message alone.
_OWN = frozenset(
    ("text", "line", "trigger", "trace", "event", "error", "error_type", "message", "time")
) | frozenset(("format", "system", "isError", "failure", "why", "on_stderr", "namespace", "level"))
#: What the names of ``extra`` fields of the standard library begin with, so that they are no others.
EXTRA = "extra_"
#: Characters of a field's text.
LONGEST_FIELD = 1_000

#: Asks for node, version and plugin, as far as they are known; a node replaces it.
about: list[Callable[[], Mapping[str, str]]] = [dict]


#: The event whose text was made last, and that text: its level, each output and CLS ask for it in turn.
_last: list[tuple[LogEvent, str]] = [({}, "")]


def text_of(event: LogEvent) -> str:
    """Its message."""
    last, text = _last[0]
    if last is not event:
        text = _make_text(event)
        _last[0] = event, text
    return text


def _make_text(event: LogEvent) -> str:
    if _is_legacy_error(event):
        # Its formatted text has the traceback in it, which is kept apart.
        return str(event.get("why") or "unhandled error")
    text = formatEvent(event)
    if text.startswith(_UNFORMATTABLE):
        # Braces in a text that is no format, or a field that is missing: Twisted would show all fields.
        return str(event.get("log_format"))
    return text


def namespace_of(event: LogEvent) -> str:
    """Who has logged it: ``scfd.heartbeat``, or the name of a logger of the standard library."""
    namespace = str(event.get("log_namespace", "-"))
    return "twisted" if namespace == "log_legacy" else namespace


def level_of(event: LogEvent) -> LogLevel:
    level: LogLevel = event.get("log_level") or LogLevel.info
    return level


def failure_of(event: LogEvent) -> Failure | None:
    """The exception that it is about."""
    failure: Failure | None = event["failure"] if _is_legacy_error(event) else event.get("log_failure")
    return failure


def traceback_of(event: LogEvent) -> str:
    """Empty without a failure."""
    failure = failure_of(event)
    if failure is None:
        return str(event.get("log_traceback", ""))
    try:
        return failure.getTraceback().rstrip("\n")
    except Exception as error:
        return f"no traceback to be had: {type(error).__name__}"


def record(event: LogEvent) -> dict[str, Any]:
    """The event as a program reads it: JSON values by name, without those that are empty."""
    found: dict[str, Any] = {
        "time": rfc3339(round(event["log_time"], 3), milliseconds=True),
        "level": level_of(event).name,
        "namespace": namespace_of(event).removeprefix("scfd."),
        **about[0](),
        **_of_event(event),
        "message": text_of(event),
    }
    failure = failure_of(event)
    if failure is not None:
        kind = getattr(getattr(failure, "type", None), "__name__", "")
        words = failure.getErrorMessage() if isinstance(failure, Failure) else ""
        found["error"] = {"type": kind, "text": words, "traceback": traceback_of(event)}
    elif isinstance(event.get("error"), str):
        told = {"type": event.get("error_type", ""), "text": event["error"], "traceback": traceback_of(event)}
        found["error"] = {name: text for name, text in told.items() if text}
    more = {
        name.removeprefix(EXTRA): _plain(value)
        for name, value in event.items()
        if name[:4] != "log_" and name not in _OWN
    }
    if more:
        found["fields"] = more
    return {name: value for name, value in found.items() if value != "" or name == "message"}


def _of_event(event: LogEvent) -> dict[str, str]:
    """Trigger, event and trace: those that the log call names, else those of the event under way."""
    found: dict[str, str] = {
        name: str(event[name]) for name in ("trigger", "event", "trace") if name in event
    }
    now = current_event.get()
    if now is not None and "event" not in found:
        found = {"trigger": now.name, **ids(now.traceparent), **found}
    return found


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)
    if isinstance(value, (dict, list, tuple)):
        with suppress(ValueError, TypeError, RecursionError):  # a circle, or what JSON does not have
            shown = json.dumps(value, default=str, allow_nan=False)
            if len(shown) <= LONGEST_FIELD:
                return json.loads(shown)
    try:
        return str(value)[:LONGEST_FIELD]
    except Exception as error:
        return f"a {type(value).__name__} without a text ({type(error).__name__})"


def _is_legacy_error(event: LogEvent) -> bool:
    """Whether the event comes from Twisted's old ``log.err``, which has names of its own for the fields."""
    return event.get("log_namespace") == "log_legacy" and "failure" in event


def escape(text: str) -> str:
    """The text with what could move the cursor, or pass for another line, as escapes."""
    return _CONTROL.sub(lambda found: _as_escapes(found[0])[0].decode("ascii"), text)
