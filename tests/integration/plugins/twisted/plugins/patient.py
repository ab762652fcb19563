"""A native plugin that takes its time: ``plugin: {events, seconds}``; it notes each begin and end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from scfd.events.event import TriggerEvent
from scfd.interfaces import IFunctionPlugin


@implementer(IFunctionPlugin)
class Patient:
    name = "patient"

    def init(self, framework: Any) -> None:
        self._config = framework.config.plugin

    def on_trigger(self, event: TriggerEvent) -> Deferred[None]:
        from twisted.internet import reactor

        self._note("begun", event)
        return deferLater(reactor, self._config["seconds"], self._note, "ended", event)

    def _note(self, what: str, event: TriggerEvent) -> None:
        with Path(self._config["events"]).open("a") as events:
            events.write(json.dumps([what, event.payload, event.metadata["num_delivered"]]) + "\n")


patient = Patient()
