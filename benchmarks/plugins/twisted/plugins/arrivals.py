"""A native plugin for the measurements: notes when it was given each event, as lines of JSON at its end."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from zope.interface import implementer

from scfd.events.event import TriggerEvent
from scfd.interfaces import IFunctionPlugin, IStoppable


@implementer(IFunctionPlugin, IStoppable)
class Arrivals:
    """``plugin: {arrivals: FILE}`` in the config."""

    name = "arrivals"

    def init(self, framework: Any) -> None:
        self._file = Path(framework.config.plugin["arrivals"])
        self._arrivals: list[tuple[str, float, float]] = []

    def on_trigger(self, event: TriggerEvent) -> None:
        received = time.time()
        scheduled = datetime.fromisoformat(event.metadata["fire_time"].replace("Z", "+00:00")).timestamp()
        self._arrivals.append((event.name, scheduled, received))

    def stop(self) -> None:
        self._file.write_text("".join(f"{json.dumps(arrival)}\n" for arrival in self._arrivals))


arrivals = Arrivals()
