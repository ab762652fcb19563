"""What the groups of methods have in common: finding a trigger, firing it, bounding a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from scfd.admin.parts import Parts
from scfd.admin.rpc import INVALID_PARAMS, NOT_FOUND, Methods, OperationError
from scfd.events.event import TriggerEvent
from scfd.status.history import PastEvent
from scfd.status.readiness import Phase

#: Rows of a list where nothing else is asked for, and at the most.
ROWS, MOST_ROWS = 100, 10_000


class Group(Methods):
    """:ivar _parts: the node."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts


def find_trigger(parts: Parts, name: str) -> Any:
    """:raises OperationError: there is none of that name."""
    found = parts.trigger(name)
    if found is None:
        known = sorted(each for trigger in parts.triggers for each in trigger.names())
        listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        raise OperationError(f"no trigger {name!r}; expected one of {listed or 'none'}", NOT_FOUND)
    return found


def fire(
    parts: Parts, name: str, payload: Any, tasks: list[str] | None, metadata: Mapping[str, str]
) -> Deferred[dict[str, Any]]:
    """
    Give the plugin an event by hand.

    :returns: a Deferred of the event as ``event.get`` has it. Cancelling it leaves the event alone: whoever
        has asked for it may be gone, it still is the trigger's.
    """
    trigger = find_trigger(parts, name)
    if parts.context.readiness.phase is Phase.STOPPING:
        raise OperationError("the node is stopping: it takes no new events")
    if not parts.context.availability.available:
        raise OperationError("the plugin can take no events now; node.status has the problems")
    if tasks is not None and not all(isinstance(task, str) for task in tasks):
        raise OperationError("tasks: expected a list of ids, which are strings", INVALID_PARAMS)
    try:
        event: TriggerEvent = trigger.event(name, payload, tasks, metadata)
    except ValueError as error:
        raise OperationError(f"{name}: {error}", INVALID_PARAMS) from None
    waiting: Deferred[dict[str, Any]] = Deferred(lambda _: None)

    def ended(past: PastEvent) -> None:
        if not waiting.called:
            waiting.callback(past.to_dict())

    parts.by_hand.dispatch(event).addCallback(ended)
    return waiting


def bounded(limit: int) -> int:
    """:raises OperationError: it is no number of rows."""
    if limit < 1:
        raise OperationError(f"limit is {limit}, expected 1 to {MOST_ROWS}", INVALID_PARAMS)
    return min(limit, MOST_ROWS)
