"""Which event the code that runs now is about, so that its log lines can say so."""

from __future__ import annotations

from contextvars import ContextVar

from scfd.events.event import TriggerEvent

#: Set while a native plugin is called. Its coroutines, and its threads, keep it.
current_event: ContextVar[TriggerEvent | None] = ContextVar("scfd_event", default=None)
