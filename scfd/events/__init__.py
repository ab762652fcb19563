"""
What travels through a node: events, responses, task results, the task list.

Plain values; nothing here knows a service. Plugins import what is listed below. A field that the
wire gets is added in the module of its class.
"""

from scfd.events.event import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskSnapshot, TaskStore

__all__ = ["TaskResult", "TaskSnapshot", "TaskStatus", "TaskStore", "TriggerEvent", "TriggerResponse"]
