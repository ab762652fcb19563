"""What the services of a node share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import Factory, field, frozen

from scfd.status.history import History
from scfd.status.metrics import Metrics
from scfd.status.readiness import Availability, Readiness


@frozen
class Context:
    """
    Time, and where a service says how it is doing.

    :ivar reactor: its clock is not affected by changes of the system time.
    :ivar now: the wall clock, seconds since the epoch.
    :ivar disk: whether it takes task results; events that bring some wait for it.
    """

    reactor: Any
    now: Callable[[], float] = time.time
    metrics: Metrics = field(factory=Metrics)
    readiness: Readiness = Factory(lambda self: Readiness(self.now), takes_self=True)
    availability: Availability = field(factory=Availability)
    disk: Availability = Factory(lambda: Availability(True))
    history: History = Factory(lambda self: History(self.now, self.readiness), takes_self=True)
