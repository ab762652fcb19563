"""How the failure of a task is said: in its result, and in the log once for all that are alike."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.errors import EventError, describe
from scfd.events.event import TriggerEvent
from scfd.events.response import WrongResultError
from scfd.events.trace import ids
from scfd.status.said import Said

_log = Logger(namespace="scfd.plugin")

#: Modules between the node and a plugin's code.
_CALLERS = ("scfd.adapter.", "scfd.deferreds", "twisted.internet.", "twisted.python.", "concurrent.futures.")
#: Failures whose text is the node's own; a traceback would add nothing.
_SAID_BY_US = (EventError, WrongResultError)
#: What tells one failure from another: frames of a traceback, characters of a failure without one.
_FRAMES, _BEGINNING = 30, 40


class TaskFailures:
    """The failures that have been logged."""

    def __init__(self) -> None:
        self._said = Said()

    def note(self, event: TriggerEvent, task_id: str, failure: Failure) -> None:
        """Log a failure, unless one like it has been logged before."""
        error: Any = failure.value
        own = isinstance(error, _SAID_BY_US)
        # The rest of the words may be about the one task.
        if not self._said.first((event.name, words_of(error)[:_BEGINNING]) if own else _place(error)):
            return
        fields: dict[str, Any] = {"trigger": event.name, "task_id": task_id, **ids(event.traceparent)}
        if own:
            _log.warn(
                "{trigger}: task {task_id} failed: {error} (trace {trace}); others like it are only counted",
                error=words_of(error),
                **fields,
            )
        else:
            # A fault in the plugin's code: its author needs the traceback.
            _log.failure(
                "{trigger}: task {task_id} failed (trace {trace}); others like it are only counted",
                _own_part(failure),
                **fields,
            )


def words_of(error: BaseException) -> str:
    """What a result, or a log line, says of a failure."""
    try:
        return str(error) if isinstance(error, _SAID_BY_US) else describe(error)
    except Exception:  # of a plugin's own class, which fails at saying what it is
        return type(error).__name__


def _own_part(failure: Failure) -> Failure:
    """A failure in the plugin's code, without the frames of the node that called it."""
    where: Any = failure.value.__traceback__  # type: ignore[union-attr]
    while where is not None and where.tb_frame.f_globals.get("__name__", "").startswith(_CALLERS):
        where = where.tb_next
    return failure if where is None else Failure(failure.value, failure.type, where)


def _place(error: BaseException) -> object:
    """What two failures have in common that are alike: their class, and the lines that led to them."""
    places: set[tuple[str, int]] = set()  # the traceback of an exception that is raised again and again grows
    where = error.__traceback__
    while where is not None and len(places) < _FRAMES:
        places.add((where.tb_frame.f_code.co_filename, where.tb_lineno))
        where = where.tb_next
    return type(error), frozenset(places)
