"""
What travels through a node: events, responses, task results, the task list.

Plain values; nothing here knows a service. Plugins import what is listed below. A field that the
wire gets is added in the module of its class.
"""

from scfd.events.event import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskSnapshot, TaskStore
from scfd.events.work import Message, Task

__all__ = [
    "Message",
    "Task",
    "TaskResult",
    "TaskSnapshot",
    "TaskStatus",
    "TaskStore",
    "TriggerEvent",
    "TriggerResponse",
]
