"""
A native plugin for the tests: it notes how long the reactor has no turn.

At the first event with tasks it looks at the jobs, and answers with ``plugin.results`` results. When it stops
it writes the longest pause between two turns to the file ``plugin.longest``, in seconds: of CPU time where
that is less, since the machine has other work.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall
from zope.interface import implementer

from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.interfaces import IFunctionPlugin, IStoppable


@implementer(IFunctionPlugin, IStoppable)
class Turns:
    name = "turns"

    def init(self, framework: Any) -> None:
        self._config = framework.config.plugin
        self._results = tuple(
            TaskResult(f"task-{number}", 2, "as text") for number in range(self._config["results"])
        )
        self._longest = 0.0
        self._last = 0.0, 0.0
        LoopingCall(self._turn).start(0.001)

    def _turn(self) -> None:
        now = time.perf_counter(), time.process_time()
        if self._last[0]:
            self._longest = max(self._longest, min(b - a for a, b in zip(self._last, now, strict=True)))
        self._last = now

    def on_trigger(self, event: TriggerEvent) -> TriggerResponse:
        results: tuple[TaskResult, ...] = ()
        if event.tasks:
            assert len(event.payload["jobs"]) >= len(event.tasks)
            assert event.payload["jobs"][0]["interval"] == "1m"
            results, self._results = self._results, ()
        return TriggerResponse(results)

    def stop(self) -> None:
        Path(self._config["longest"]).write_text(str(self._longest))


turns = Turns()
