"""A native plugin for the measurements: does nothing, ``plugin: {takes: SECONDS}`` long; 0 is at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from scfd.events.event import TriggerEvent
from scfd.interfaces import IFunctionPlugin


@implementer(IFunctionPlugin)
class Worker:
    name = "worker"

    def init(self, framework: Any) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._takes: float = framework.config.plugin["takes"]

    def on_trigger(self, event: TriggerEvent) -> Deferred[None] | None:
        if not self._takes:
            return None
        done: Deferred[None] = Deferred()
        self._reactor.callLater(self._takes, done.callback, None)
        return done


worker = Worker()
