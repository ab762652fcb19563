"""
What a native plugin in Python is written with: base classes that editors and type checkers understand.

They declare the interfaces of `scfd.interfaces`, so that a plugin need not.
"""

from __future__ import annotations

import time
import typing
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import attrs
from attrs import frozen
from zope.interface import classImplements, implementer

from scfd.config import Config
from scfd.config.values import P
from scfd.events.tasks import TaskStore
from scfd.identity import Identity
from scfd.interfaces import (
    IBlockingPlugin,
    IDynamicHeartbeatContributor,
    IFramework,
    IFunctionPlugin,
    IHeartbeatContributor,
    IStoppable,
    ITaskPlugin,
    IWebContributor,
)

if TYPE_CHECKING:
    from scfd.events import Message, Task, TriggerEvent, TriggerResponse

#: Having one of these methods is declaring its interface.
_OPTIONAL = {
    "stop": IStoppable,
    "heartbeat_extra": IHeartbeatContributor,
    "heartbeat_extra_func": IDynamicHeartbeatContributor,
    "resource": IWebContributor,
}


@implementer(IFramework)
@frozen
class Framework(Generic[P]):
    """
    What a native plugin is given of its node.

    :ivar config: the whole config; the plugin's own part is ``config.plugin``.
    :ivar identity: who this node is, and whom it talks to.
    :ivar task_store: the task list.
    :ivar clock: an `IReactorTime`: the reactor, in a test a clock that stands still.
    :ivar now: the wall clock, in seconds since the epoch; in a test it goes with ``clock``.
    """

    config: Config[P]
    identity: Identity
    task_store: TaskStore
    clock: Any = None
    now: Callable[[], float] = time.time


class _Plugin(Generic[P]):
    """
    What plugins have in common.

    ``class Hello(TaskPlugin[Settings])`` has its ``plugin`` section checked by the attrs class ``Settings``.

    :cvar name: what the config calls it.
    :cvar settings_class: set by ``[Settings]``.
    :cvar blocking: its methods block: they are called in threads; see `scfd.interfaces.IBlockingPlugin`.
    """

    name: str
    settings_class: ClassVar[type | None] = None
    blocking: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in typing.get_args(base):
                if isinstance(argument, type) and attrs.has(argument):
                    cls.settings_class = argument
        interfaces = [interface for method, interface in _OPTIONAL.items() if hasattr(cls, method)]
        if cls.blocking:
            interfaces.append(IBlockingPlugin)
        classImplements(cls, *interfaces)  # type: ignore[misc]

    def init(self, framework: Framework[P]) -> Awaitable[None] | None:
        """
        Get ready, before the first event.

        :raises scfd.errors.StartupError: for a mistake of the user: its text is shown, without a traceback.
        """
        return None


@implementer(ITaskPlugin)
class TaskPlugin(_Plugin[P]):
    """A plugin that is called for one task or one message at a time. It has one of these methods, or both."""

    if TYPE_CHECKING:
        # A plugin without a method is not called for that: it must not inherit one.

        def on_task(self, task: Task, event: TriggerEvent) -> object:
            """
            Handle a task.

            :returns: its result: a text, another JSON value, None, a `TaskResult`, or an awaitable of these.
                When it fails, the task is reported as failed.
            """

        def on_message(self, message: Message, event: TriggerEvent) -> object:
            """
            Handle a message.

            :returns: None, a `TaskResult`, a list of them, or an awaitable of these. When it fails, the
                message is delivered again.
            """


@implementer(IFunctionPlugin)
class FunctionPlugin(_Plugin[P]):
    """A plugin that is called for whole events."""

    if TYPE_CHECKING:

        def on_trigger(
            self, event: TriggerEvent
        ) -> TriggerResponse | Awaitable[TriggerResponse | None] | None:
            """Handle an event. When it fails, a timer goes on, and a message is delivered again."""
