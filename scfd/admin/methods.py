"""
What operators can ask for over RPC: a class is a group of methods, each ``jsonrpc_`` method one of them.

Moments are RFC 3339, durations seconds. A name that does not exist, and what can't be done now, is an
`OperationError` with a line for a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from scfd.admin.common import ROWS, Group, bounded, find_trigger, fire
from scfd.admin.failed import DeadLetterMethods, ReportMethods
from scfd.admin.parts import Parts, status
from scfd.admin.rpc import INVALID_PARAMS, NOT_FOUND, Methods, OperationError
from scfd.config import Address
from scfd.config.findings import is_secret, without_credentials
from scfd.events.tasks import is_valid
from scfd.events.wire import rfc3339
from scfd.logs import levels
from scfd.status.history import PastEvent, RunningEvent
from scfd.triggers.timer.cron import Cron

#: Outcomes of a trigger's last events that a list of triggers has.
STRIP = 30


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
        "log": LogMethods(parts),
    }


class NodeMethods(Group):
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


class TriggerMethods(Group):
    """Timers and queues."""

    def jsonrpc_list(self, match: str = "", limit: int = ROWS) -> Iterator[dict[str, Any]]:
        """
        Each trigger: its type, what comes next, what became of its events, whether it is paused.

        ``match`` is a part of the name.
        """
        found = (
            self._row(trigger, name)
            for trigger in self._parts.triggers
            for name in trigger.names()
            if match in name
        )
        return islice(found, bounded(limit))

    def _row(self, trigger: Any, name: str) -> dict[str, Any]:
        events = self._parts.context.metrics.events
        last = self._parts.context.history.last(name, limit=STRIP)
        counted = {outcome: events.value(name, outcome) for outcome in ("succeeded", "failed", "not sent")}
        return {
            "name": name,
            **trigger.state(name),
            "events": counted,
            "last": last[0].summary() if last else None,
            "outcomes": [past.outcome for past in reversed(last)],
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
        return fire(self._parts, name, payload, tasks, {})

    def jsonrpc_pause(self, name: str) -> dict[str, Any]:
        """
        Stop a trigger from making events until it is resumed, or the node restarted.

        Events under way go on. A timer's fires in that time are left out, and counted; messages stay in their
        stream, those that the node has been given already in its memory.
        """
        trigger = find_trigger(self._parts, name)
        if not trigger.state(name)["paused"]:
            trigger.pause(name)
        self._parts.context.readiness.warning(
            f"pause of {name}", "paused by an operator", f"scfd resume {name}"
        )
        return dict(trigger.state(name))

    def jsonrpc_resume(self, name: str) -> dict[str, Any]:
        """Have a trigger make events again."""
        trigger = find_trigger(self._parts, name)
        if trigger.state(name)["paused"]:
            trigger.resume(name)
        self._parts.context.readiness.well(f"pause of {name}")
        return dict(trigger.state(name))


#: Metadata of an event that are not those of its message.
_OF_THE_NODE = ("nodeID", "version", "storage_server_url", "storage_server_rpc", "traceparent")


class EventMethods(Group):
    """What happened."""

    def jsonrpc_list(
        self, trigger: str = "", failed: bool = False, limit: int = ROWS, after: int = -1
    ) -> Iterator[dict[str, Any]]:
        """
        The last events, those under way first, then the newest.

        ``failed`` leaves out what succeeded; ``after`` the events up to that ``number``, and those under way.
        """
        if trigger:
            find_trigger(self._parts, trigger)
        history = self._parts.context.history
        now = self._parts.context.reactor.seconds()
        running = (
            self._running(one, now)
            for one in reversed(history.running())
            if after < 0 and not failed and trigger in ("", one.event.name)
        )
        past = history.last(trigger, failed, after, bounded(limit))
        return islice(chain(running, map(PastEvent.summary, past)), bounded(limit))

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
            failed = [task_id for task_id, status, _ in found.results if status in (3, 4)]
            known = self._parts.tasks.snapshot.ids
            return fire(self._parts, found.trigger, None, [t for t in failed if t in known] or None, metadata)
        if not found.payload_size:
            raise OperationError(f"event {id}: its message was too long to be kept")
        own = {name: value for name, value in found.metadata.items() if name not in _OF_THE_NODE}
        return fire(self._parts, found.trigger, found.payload, None, {**own, **metadata})

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


class TaskMethods(Group):
    """The task list."""

    def jsonrpc_list(
        self, match: str = "", failed: bool = False, limit: int = ROWS
    ) -> Iterator[dict[str, Any]]:
        """
        The tasks, with the last result of each since the start of the node.

        ``match`` is a part of the task's id; ``failed`` leaves out those whose last result is no failure.
        """
        return islice(self._rows(match, failed), bounded(limit))

    def _rows(self, match: str, failed: bool) -> Iterator[dict[str, Any]]:
        last_result = self._parts.dispatcher.last_result
        for task in self._parts.tasks.get_all():
            task_id = task["task_id"]
            last = last_result(task_id)
            if match not in task_id or (failed and (last is None or last.status not in (3, 4))):
                continue
            yield {
                "task_id": task_id,
                "valid": is_valid(task),
                "node": task.get("planned_exec_node", ""),
                "status": None if last is None else last.status,
                "result": "" if last is None else last.text,
                "at": None if last is None else rfc3339(last.at),
            }


class PluginMethods(Group):
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


class LogMethods(Group):
    """The node's log."""

    def jsonrpc_level(self, namespace: str = "", level: str | None = None) -> dict[str, Any]:
        """
        The levels from which on events are shown; with ``level``, after setting that of a namespace.

        An empty ``namespace`` is the default for all. The level ``default`` takes a change back; a restart of
        the node takes all of them back.
        """
        if level is not None:
            try:
                levels.set(namespace, level)
            except ValueError as error:
                raise OperationError(str(error), INVALID_PARAMS) from None
        return {"default": levels.default, "namespaces": levels.named}


class ConfigMethods(Group):
    """The settings in use."""

    def jsonrpc_show(self) -> dict[str, Any]:
        """The whole config with its defaults; what is secret is ``***``."""
        cfg = self._parts.cfg
        shown: dict[str, Any] = _shown(attrs.evolve(cfg, triggers=()), "")
        return {**shown, "triggers": (_shown(trigger, "triggers") for trigger in cfg.triggers)}


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
