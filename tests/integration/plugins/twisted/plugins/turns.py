"""
A native plugin for the tests: it notes how long the reactor has no turn.

At the first event with tasks it looks at the jobs, and answers with ``plugin.results`` results. When it stops
it writes the seconds to the file ``plugin.longest``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zope.interface import implementer

from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.interfaces import IFunctionPlugin, IStoppable
from tests.integration.turns import Turns


@implementer(IFunctionPlugin, IStoppable)
class Watching:
    name = "turns"

    def init(self, framework: Any) -> None:
        self._config = framework.config.plugin
        self._results = tuple(
            TaskResult(f"task-{number}", 2, "as text") for number in range(self._config["results"])
        )
        self._turns = Turns()

    def on_trigger(self, event: TriggerEvent) -> TriggerResponse:
        results: tuple[TaskResult, ...] = ()
        if event.tasks:
            jobs = event.payload["jobs"]
            assert len(jobs) >= len(event.tasks)
            assert jobs[0]["interval"] == "1m"
            results, self._results = self._results, ()
        return TriggerResponse(results)

    def stop(self) -> None:
        Path(self._config["longest"]).write_text(str(self._turns.longest))


watching = Watching()
