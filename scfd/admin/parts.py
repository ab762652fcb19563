"""What the endpoint for operators works on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from scfd import __version__
from scfd.config import Config
from scfd.config.findings import without_credentials
from scfd.control_plane.learning import LearningClient
from scfd.dispatch import ByHand, Dispatcher
from scfd.events.tasks import TaskStore
from scfd.events.wire import rfc3339
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
    by_hand: ByHand
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


def status(parts: Parts) -> dict[str, Any]:
    """What the method ``node.status`` and the page have to say of the node."""
    context = parts.context
    server = parts.identity.server.base_url
    return {
        "name": parts.cfg.system.name,
        "node_id": parts.identity.node_id,
        "version": parts.identity.version,
        "scfd": __version__,
        "pid": os.getpid(),
        "plugin": parts.adapter.plugin_name,
        "plugin_restarts": parts.cfg.adapter.http is not None and bool(parts.cfg.adapter.http.command),
        "phase": context.readiness.phase.value,
        "started": rfc3339(parts.began),
        "uptime": round(context.now() - parts.began, 1),
        "ready": not context.readiness.problems(),
        "problems": [problem.to_dict() for problem in context.readiness.all()],
        "control_plane": without_credentials(server),
        "control_plane_page": own.listen.url if (own := parts.cfg.dev.control_plane) else "",
        "protocol": parts.client.generation(server) if server else None,
        "tasks": len(parts.tasks.snapshot.ids),
        "tasks_md5": parts.tasks.current_md5(),
        "triggers": sum(len(trigger.names()) for trigger in parts.triggers),
        "events": {
            "running": parts.dispatcher.running,
            "succeeded": parts.dispatcher.succeeded,
            "failed": parts.dispatcher.failed,
        },
        "reports": {"pending": parts.reports.pending(), "delivered": parts.reports.delivered},
    }
