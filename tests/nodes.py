"""Nodes in memory whose plugin is a function of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from scfd.events.event import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.interfaces import IBlockingPlugin, IFunctionPlugin
from scfd.testing import Node


def timer(name: str, cron: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "type": "timer", "settings": {"cron": cron, **settings}}


def queue(name: str, **settings: Any) -> dict[str, Any]:
    basics = {"url": "nats://nats.test", "stream": "ORDERS", "subject": "orders.>", "consumer_name": name}
    return {"name": name, "type": "nats", "settings": {**basics, **settings}}


def well(event: TriggerEvent) -> Any:
    return TriggerResponse([TaskResult(task["task_id"], TaskStatus.SUCCESS, "well") for task in event.tasks])


@implementer(IFunctionPlugin)
class Plugin:
    """A plugin that is a function of its test."""

    name = "tested"

    def __init__(self, act: Callable[[TriggerEvent], Any] = well) -> None:
        self._act = act
        self.framework: Any = None

    def init(self, framework: Any) -> None:
        self.framework = framework

    def on_trigger(self, event: TriggerEvent) -> Any:
        return self._act(event)


@implementer(IBlockingPlugin)
class BlockingPlugin(Plugin):
    """One that may block."""


MINUTES, HOURS = timer("minutes", "0 * * * * * *"), timer("hours", "0 0 * * * * *")


class NodeTestCase(SynchronousTestCase):
    def node(self, act: Any = well, *triggers: Any, **options: Any) -> Node:
        plugin = act if isinstance(act, Plugin) else Plugin(act)
        config = {"triggers": list(triggers), **options.pop("sections", {})}
        node = Node(plugin, config, **options)
        self.addCleanup(node.close)
        return node
