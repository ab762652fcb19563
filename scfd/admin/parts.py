"""What the endpoint for operators works on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from scfd.config import Config
from scfd.control_plane.learning import LearningClient
from scfd.dispatch import Dispatcher
from scfd.events.tasks import TaskStore
from scfd.identity import Identity
from scfd.interfaces import IAdapter
from scfd.reports.delivery import Reports
from scfd.status.context import Context


@frozen
class Parts:
    """
    The node, as its operators see it.

    :ivar triggers: providers of `scfd.interfaces.ITrigger`.
    :ivar end: ends the node as a signal would.
    """

    cfg: Config
    identity: Identity
    context: Context
    adapter: IAdapter
    dispatcher: Dispatcher
    tasks: TaskStore
    client: LearningClient
    reports: Reports
    triggers: tuple[Any, ...]
    end: Callable[[str], None]
    began: float = field(init=False)

    @began.default
    def _now(self) -> float:
        return self.context.now()

    def trigger(self, name: str) -> Any:
        """The one that has a trigger of that name, or None."""
        return next((trigger for trigger in self.triggers if name in trigger.names()), None)
