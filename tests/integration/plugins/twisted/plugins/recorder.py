"""
A native plugin for the tests: it writes each event to a file and does what its config says.

``plugin`` in the config: ``events``, a file to which each event is added as a line of JSON;
``static`` and ``dynamic``, heartbeat fields; ``broken: true`` makes the dynamic ones raise;
``results: {task_id: status}``, what it answers instead of success for every valid task, with the
moment of the event, or the message's number in its stream, as its text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zope.interface import implementer

from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.tasks import is_valid
from scfd.interfaces import IDynamicHeartbeatContributor, IFunctionPlugin, IHeartbeatContributor


@implementer(IFunctionPlugin, IHeartbeatContributor, IDynamicHeartbeatContributor)
class Recorder:
    name = "recorder"

    def init(self, framework: Any) -> None:
        self._config = framework.config.plugin
        self._count = 0

    def on_trigger(self, event: TriggerEvent) -> TriggerResponse:
        with Path(self._config["events"]).open("ab") as events:
            events.write(event.to_json() + b"\n")
        self._count += 1
        if "results" in self._config:
            results = [
                TaskResult(task, status, "as told") for task, status in self._config["results"].items()
            ]
        else:
            metadata = event.metadata
            text = metadata.get("fire_time") or f"message {metadata['stream_sequence']}"
            results = [TaskResult(task["task_id"], 2, text) for task in event.tasks if is_valid(task)]
        return TriggerResponse(tuple(results))

    def heartbeat_extra(self) -> dict[str, Any]:
        return dict(self._config.get("static", {}))

    def heartbeat_extra_func(self) -> dict[str, Any]:
        if self._config.get("broken"):
            raise RuntimeError("the dynamic fields are broken")
        return {"count": self._count, **self._config.get("dynamic", {})}


recorder = Recorder()
