"""Tests for `scfd.function`: what its base classes declare for a plugin."""

from __future__ import annotations

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.events import Task, TriggerEvent, TriggerResponse
from scfd.function import FunctionPlugin, TaskPlugin
from scfd.interfaces import (
    IBlockingPlugin,
    IDynamicHeartbeatContributor,
    IFunctionPlugin,
    IHeartbeatContributor,
    INativePlugin,
    IStoppable,
    ITaskPlugin,
    IWebContributor,
)


@frozen
class Settings:
    word: str = ""


class Small(TaskPlugin):
    name = "small"

    def on_task(self, task: Task, event: TriggerEvent) -> str:
        return ""


class Large(FunctionPlugin[Settings]):
    name = "large"
    blocking = True

    def on_trigger(self, event: TriggerEvent) -> TriggerResponse:
        return TriggerResponse()

    def stop(self) -> None: ...

    def heartbeat_extra(self) -> dict[str, int]:
        return {}


class BaseClassTests(SynchronousTestCase):
    def test_a_task_plugin(self) -> None:
        small = Small()
        verifyObject(ITaskPlugin, small)
        self.assertFalse(IFunctionPlugin.providedBy(small))
        self.assertFalse(IBlockingPlugin.providedBy(small))
        self.assertFalse(IStoppable.providedBy(small))
        self.assertFalse(hasattr(small, "on_message"), "the node would call it")
        self.assertIsNone(small.settings_class)

    def test_a_plugin_for_whole_events(self) -> None:
        large = Large()
        for interface in (IFunctionPlugin, IBlockingPlugin, IStoppable, IHeartbeatContributor):
            verifyObject(interface, large)
        for other in (ITaskPlugin, IDynamicHeartbeatContributor, IWebContributor):
            self.assertFalse(other.providedBy(large))
        self.assertIs(large.settings_class, Settings)

    def test_what_a_subclass_adds(self) -> None:
        class Larger(Large):
            def heartbeat_extra_func(self) -> dict[str, int]:
                return {}

        self.assertTrue(IDynamicHeartbeatContributor.providedBy(Larger()))
        self.assertTrue(IStoppable.providedBy(Larger()))
        self.assertIs(Larger().settings_class, Settings)

    def test_the_classes_themselves_are_no_plugins(self) -> None:
        """twistd's plugin system looks at everything that a module has, imports included."""
        for cls in (TaskPlugin, FunctionPlugin, Small):
            self.assertFalse(INativePlugin.providedBy(cls))
