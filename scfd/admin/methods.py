"""
What operators can ask for over RPC: a class is a group of methods, each ``jsonrpc_`` method one of them.

Moments are RFC 3339, durations seconds. A name that does not exist, and what can't be done now, is an
`OperationError` with a line for a person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred

from scfd.admin.parts import Parts, status
from scfd.admin.rpc import INVALID_PARAMS, NOT_FOUND, Methods, OperationError
from scfd.config import Address
from scfd.config.findings import is_secret, without_credentials
from scfd.errors import StorageError
from scfd.events.event import TriggerEvent
from scfd.events.tasks import is_valid
from scfd.events.wire import rfc3339
from scfd.status.history import SUCCEEDED, TASKS_FAILED, PastEvent, RunningEvent
from scfd.triggers.timer.cron import Cron

if TYPE_CHECKING:
    from scfd.triggers.nats.letters import Letter, Letters

T = TypeVar("T")

#: Rows of a list where nothing else is asked for, and at the most.
ROWS, MOST_ROWS = 100, 10_000
#: Bytes of a message that a list of dead letters shows.
PREVIEW = 200
#: Outcomes of a trigger's last events that a list of triggers has.
STRIP = 30


def _trigger(parts: Parts, name: str) -> Any:
    """:raises OperationError: there is none of that name."""
    found = parts.trigger(name)
    if found is None:
        known = sorted(each for trigger in parts.triggers for each in trigger.names())
        listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        raise OperationError(f"no trigger {name!r}; expected one of {listed or 'none'}", NOT_FOUND)
    return found


def groups(parts: Parts) -> dict[str, Methods]:
    """The methods by the part of their names before the dot."""
    return {
        "node": NodeMethods(parts),
        "trigger": TriggerMethods(parts),
        "event": EventMethods(parts),
        "task": TaskMethods(parts),
        "report": ReportMethods(parts),
        "dead_letter": DeadLetterMethods(parts),
        "plugin": PluginMethods(parts),
        "config": ConfigMethods(parts),
    }


class _Group(Methods):
    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts


class NodeMethods(_Group):
    """The node as a whole."""

    def jsonrpc_status(self) -> dict[str, Any]:
        """Who the node is, how it is doing, and what it has done since its start."""
        return status(self._parts)

    def jsonrpc_drain(self) -> str:
        """
        Take no new work, finish what is under way, and end the process with status 0: as SIGTERM does.

        What runs the node (systemd, Kubernetes, SCF) decides whether it is started again.
        """
        self._parts.end("node.drain")
        return "draining"


class TriggerMethods(_Group):
    """Timers and queues."""

    def jsonrpc_list(self, match: str = "", limit: int = ROWS) -> list[dict[str, Any]]:
        """
        Each trigger: its type, what comes next, what became of its events, whether it is paused.

        ``match`` is a part of the name.
        """
        outcomes: dict[str, list[PastEvent]] = {}
        for past in self._parts.context.history.last():
            outcomes.setdefault(past.trigger, []).append(past)
        found = [
            self._row(trigger, name, outcomes.get(name, []))
            for trigger in self._parts.triggers
            for name in trigger.names()
            if match in name
        ]
        return found[: _rows(limit)]

    def _row(self, trigger: Any, name: str, last: list[PastEvent]) -> dict[str, Any]:
        events = self._parts.context.metrics.events
        counted = {
            outcome: events.labels(name, outcome).value for outcome in ("succeeded", "failed", "not sent")
        }
        return {
            "name": name,
            **trigger.state(name),
            "events": counted,
            "last": last[0].summary() if last else None,
            "outcomes": [past.outcome for past in reversed(last[:STRIP])],
        }

    def jsonrpc_fire(
        self, name: str, payload: Any = None, tasks: list[str] | None = None
    ) -> Deferred[dict[str, Any]]:
        """
        Make an event now, as the trigger would, and wait for what becomes of it.

        ``payload`` replaces that of the event: of a timer its whole payload, of a queue the message.
        ``tasks`` are the ids of the tasks that a timer's event is to have, by default all; every interval
        of these counts as due. Nothing is skipped because an event is under way, or the trigger paused.
        """
        return _fire(self._parts, name, payload, tasks, {})

    def jsonrpc_pause(self, name: str) -> dict[str, Any]:
        """
        Stop a trigger from making events until it is resumed, or the node restarted.

        A timer's fires in that time are left out, and counted; messages stay in their stream.
        """
        trigger = _trigger(self._parts, name)
        trigger.pause(name)
        self._parts.context.readiness.warning(
            f"pause of {name}", "paused by an operator", f"scfd resume {name}"
        )
        return dict(trigger.state(name))

    def jsonrpc_resume(self, name: str) -> dict[str, Any]:
        """Have a trigger make events again."""
        trigger = _trigger(self._parts, name)
        trigger.resume(name)
        self._parts.context.readiness.well(f"pause of {name}")
        return dict(trigger.state(name))


def _fire(
    parts: Parts, name: str, payload: Any, tasks: list[str] | None, metadata: Mapping[str, str]
) -> Deferred[dict[str, Any]]:
    """
    Give the plugin an event by hand.

    :returns: a Deferred of the event as ``event.get`` has it. Cancelling it leaves the event alone: whoever
        has asked for it may be gone, it still is the trigger's.
    """
    trigger = _trigger(parts, name)
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

    parts.dispatcher.by_hand(event).addCallback(ended)
    return waiting


#: Metadata of an event that are not those of its message.
_OF_THE_NODE = ("nodeID", "version", "storage_server_url", "storage_server_rpc", "traceparent")


class EventMethods(_Group):
    """What happened."""

    def jsonrpc_list(
        self, trigger: str = "", failed: bool = False, limit: int = ROWS, after: int = -1
    ) -> list[dict[str, Any]]:
        """
        The last events, those under way first, then the newest.

        ``failed`` leaves out what succeeded; ``after`` the events up to that ``number``, and those under way.
        """
        if trigger:
            _trigger(self._parts, trigger)
        history = self._parts.context.history
        now = self._parts.context.reactor.seconds()
        running = [
            self._running(one, now)
            for one in reversed(history.running())
            if after < 0 and not failed and trigger in ("", one.event.name)
        ]
        past = [one.summary() for one in history.last(trigger, failed) if one.number > after]
        return (running + past)[: _rows(limit)]

    def jsonrpc_get(self, id: str) -> dict[str, Any]:
        """One event with its traceback, metadata and task results."""
        found = self._find(id)
        if isinstance(found, RunningEvent):
            return self._running(found, self._parts.context.reactor.seconds())
        return found.to_dict()

    def jsonrpc_cancel(self, id: str) -> str:
        """End an event that is under way; it counts as failed, and a message is given back."""
        found = self._find(id)
        if not isinstance(found, RunningEvent):
            raise OperationError(f"event {id} has ended: {found.outcome}")
        found.done.cancel()
        return "cancelled"

    def jsonrpc_replay(self, id: str) -> Deferred[dict[str, Any]]:
        """
        Have the plugin handle an event once more, and wait for what becomes of it.

        A message as it was; a timer's event with the tasks of now, limited to those whose results failed.
        """
        found = self._find(id)
        if isinstance(found, RunningEvent):
            raise OperationError(f"event {id} is under way")
        metadata = {"replay_of": id}
        if found.type == "timer":
            failed = [result.task_id for result in found.results if result.status in (3, 4)]
            known = self._parts.tasks.snapshot.ids
            return _fire(
                self._parts, found.trigger, None, [t for t in failed if t in known] or None, metadata
            )
        if found.payload is None:
            raise OperationError(f"event {id}: its message was too long to be kept")
        own = {name: value for name, value in found.metadata.items() if name not in _OF_THE_NODE}
        return _fire(self._parts, found.trigger, found.payload, None, {**own, **metadata})

    def _find(self, id: str) -> PastEvent | RunningEvent:
        found = self._parts.context.history.find(id)
        if found is None:
            raise OperationError(f"no event {id!r}; only the last ones are kept", NOT_FOUND)
        return found

    def _running(self, one: RunningEvent, now: float) -> dict[str, Any]:
        seconds = now - one.began
        return {
            "id": one.id,
            "number": 0,
            "trigger": one.event.name,
            "type": one.event.type,
            "at": rfc3339(round(self._parts.context.now() - seconds, 3)),
            "lateness": None,
            "seconds": round(seconds, 3),
            "outcome": "running",
            "error": "",
            "results": 0,
            "statuses": {},
            "delivery": int(one.event.metadata.get("num_delivered", 0)),
        }


class TaskMethods(_Group):
    """The task list."""

    def jsonrpc_list(self, match: str = "", failed: bool = False, limit: int = ROWS) -> list[dict[str, Any]]:
        """
        The tasks, with the last result of each since the start of the node.

        ``match`` is a part of the task's id; ``failed`` leaves out those whose last result is no failure.
        """
        results = self._parts.dispatcher.last_results
        rows: list[dict[str, Any]] = []
        for task in self._parts.tasks.get_all():
            task_id = task["task_id"]
            last = results.get(task_id)
            if match not in task_id or (failed and (last is None or last.status not in (3, 4))):
                continue
            rows.append(
                {
                    "task_id": task_id,
                    "valid": is_valid(task),
                    "node": task.get("planned_exec_node", ""),
                    "status": None if last is None else last.status,
                    "result": "" if last is None else last.text,
                    "at": None if last is None else rfc3339(last.at),
                }
            )
            if len(rows) >= _rows(limit):
                break
        return rows


class ReportMethods(_Group):
    """Task results that the control plane has not taken; each is known by its ``seq``."""

    async def jsonrpc_list(self, limit: int = ROWS) -> list[dict[str, Any]]:
        """Results to be delivered, and those put aside: refused, or never taken. The oldest first."""
        return [attrs.asdict(kept) for kept in await _on_disk(self._parts.reports.kept(_rows(limit)))]

    async def jsonrpc_retry(self, seqs: list[int]) -> int:
        """Deliver results that were put aside after all, and try waiting ones now. Returns how many."""
        return await _on_disk(self._parts.reports.retry(_numbers(seqs)))

    async def jsonrpc_discard(self, seqs: list[int]) -> int:
        """Forget results for good. Returns how many there were."""
        return await _on_disk(self._parts.reports.discard(_numbers(seqs)))


async def _on_disk(work: Awaitable[T]) -> T:
    """:raises OperationError: the disk refuses."""
    try:
        return await work
    except StorageError as error:
        raise OperationError(str(error)) from error


def _numbers(seqs: list[int]) -> list[int]:
    if not all(isinstance(seq, int) and not isinstance(seq, bool) and abs(seq) < 2**63 for seq in seqs):
        raise OperationError("seqs: expected a list of numbers, as report.list has them", INVALID_PARAMS)
    return seqs


class DeadLetterMethods(_Group):
    """Messages that failed at their last delivery; each is known by its sequence in the stream of letters."""

    async def jsonrpc_list(self, trigger: str = "", limit: int = ROWS) -> list[dict[str, Any]]:
        """The letters of one trigger, or of all, the oldest first."""
        triggers = [trigger] if trigger else self._all()
        return [
            _letter_row(name, letter)
            for name in triggers
            for letter in await self._asked(self._letters(name).list(_rows(limit)))
        ]

    async def jsonrpc_show(self, trigger: str, sequence: int) -> dict[str, Any]:
        """One letter with its headers and its message, as an event would have that."""
        letter = await self._find(trigger, sequence)
        return {**_letter_row(trigger, letter), "headers": letter.headers, "payload": letter.payload()}

    async def jsonrpc_replay(self, trigger: str, sequence: int) -> dict[str, Any]:
        """Have the plugin handle the message; the letter is deleted when it has done so."""
        letter = await self._find(trigger, sequence)
        fired = await _fire(self._parts, trigger, letter.payload(), None, letter.metadata())
        if fired["outcome"] in (SUCCEEDED, TASKS_FAILED):
            await self._asked(self._letters(trigger).delete(sequence))
        return fired

    async def jsonrpc_discard(self, trigger: str, sequence: int) -> str:
        """Delete a letter: its message is lost."""
        await self._find(trigger, sequence)
        await self._asked(self._letters(trigger).delete(sequence))
        return "discarded"

    def _all(self) -> list[str]:
        found = (trigger for trigger in self._parts.triggers if getattr(trigger, "letters", None))
        return sorted(name for trigger in found for name in trigger.names())

    def _letters(self, trigger: str) -> Letters:
        letters: Letters | None = getattr(_trigger(self._parts, trigger), "letters", None)
        if letters is None:
            raise OperationError(f"{trigger} has no dead letters: its settings have no dead_letter subject")
        return letters

    async def _find(self, trigger: str, sequence: int) -> Letter:
        letter = await self._asked(self._letters(trigger).find(sequence))
        if letter is None:
            raise OperationError(f"{trigger} has no dead letter {sequence}", NOT_FOUND)
        return letter

    async def _asked(self, request: Coroutine[Any, Any, T]) -> T:
        """:raises OperationError: the server can't be asked, or refuses."""
        from scfd.triggers.nats.jetstream import reason  # NATS takes 150 ms to be imported

        try:
            return await request
        except CancelledError:
            raise
        except Exception as error:
            raise OperationError(reason(error)) from error


def _letter_row(trigger: str, letter: Letter) -> dict[str, Any]:
    return {
        "trigger": trigger,
        "sequence": letter.sequence,
        "at": letter.at,
        "reason": letter.reason,
        "subject": letter.headers.get("Scfd-Subject", ""),
        "stream": letter.headers.get("Scfd-Stream", ""),
        "deliveries": letter.headers.get("Scfd-Deliveries", ""),
        "size": len(letter.data),
        "preview": letter.data[:PREVIEW].decode("utf-8", "replace"),
    }


class PluginMethods(_Group):
    """The business code."""

    def jsonrpc_restart(self) -> str:
        """
        End the plugin's process and start it again. Events wait meanwhile.

        Only where the node runs it (``adapter.http.command``).
        """
        restart = getattr(self._parts.adapter, "restart", None)
        if restart is None:
            raise OperationError("a native plugin lives in the node's process: restart the node")
        try:
            restart("an operator has asked for it")
        except ValueError as error:
            raise OperationError(str(error)) from None
        return "restarting"


class ConfigMethods(_Group):
    """The settings in use."""

    def jsonrpc_show(self) -> dict[str, Any]:
        """The whole config with its defaults; what is secret is ``***``."""
        shown = _shown(self._parts.cfg, "")
        assert isinstance(shown, dict)
        return shown


def _shown(value: Any, key: str) -> Any:
    """A part of the config as JSON, with ``***`` for what is secret."""
    if attrs.has(type(value)) and not isinstance(value, (Address, Cron)):
        return {one.name: _shown_field(getattr(value, one.name), one) for one in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(name): _shown(one, str(name)) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_shown(one, key) for one in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    text = value.expression if isinstance(value, Cron) else str(value)
    return "***" if text and is_secret(key) else without_credentials(text)


def _shown_field(value: Any, field: attrs.Attribute[Any]) -> Any:
    if field.repr or not value or field.name == "plugin":  # what of that is secret, its keys say
        return _shown(value, field.name)
    return {str(name): "***" for name in value} if isinstance(value, Mapping) else "***"


def _rows(limit: int) -> int:
    if limit < 1:
        raise OperationError(f"limit is {limit}, expected 1 to {MOST_ROWS}", INVALID_PARAMS)
    return min(limit, MOST_ROWS)
