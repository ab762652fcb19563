"""
A native plugin for the tests: it takes its time, and then writes down what it has handled.

``plugin`` in the config: ``tally``, a file; ``takes``, seconds for each event. A line is a JSON list: the
message's sequence in its stream, how often it has been delivered, the wall clock at the end of the work.
The file survives ``kill -9``, since each line is handed to the kernel at once.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from scfd.events.event import TriggerEvent
from scfd.interfaces import IFunctionPlugin


@implementer(IFunctionPlugin)
class Tally:
    name = "tally"

    def init(self, framework: Any) -> None:
        config = framework.config.plugin
        self._file = os.open(config["tally"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._takes = config["takes"]

    def on_trigger(self, event: TriggerEvent) -> Deferred[None]:
        from twisted.internet import reactor

        done: Deferred[None] = Deferred()
        reactor.callLater(self._takes, done.callback, None)
        return done.addCallback(lambda _: self._note(event.metadata))

    def _note(self, metadata: Any) -> None:
        line = [int(metadata["stream_sequence"]), int(metadata["num_delivered"]), time.time()]
        os.write(self._file, json.dumps(line).encode() + b"\n")


tally = Tally()
