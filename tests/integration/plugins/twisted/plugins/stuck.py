"""
A native plugin for the tests whose work never ends: ``plugin: {how: deferred}``, ``thread``, or ``sleep``,
which blocks the reactor for 1.8 s.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from scfd.events.event import TriggerEvent
from scfd.interfaces import IFunctionPlugin


@implementer(IFunctionPlugin)
class Stuck:
    name = "stuck"

    def init(self, framework: Any) -> None:
        self._how = framework.config.plugin["how"]

    def on_trigger(self, event: TriggerEvent) -> Deferred[None]:
        print("stuck from now on", flush=True)
        if self._how == "sleep":
            time.sleep(1.8)
        return deferToThread(never_end) if self._how == "thread" else Deferred()


def never_end() -> None:
    threading.Event().wait()


stuck = Stuck()
