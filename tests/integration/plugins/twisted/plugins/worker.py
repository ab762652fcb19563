"""
A task plugin that does what a task's ``task_params`` say: ``{"do": "raise"}``, ``hang``, ``dict``, or
``{"seconds": 0.1}`` of work. It writes the id of each task that it has done to the file ``plugin.done``, and
answers each message with a result of the task that the message names.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from zope.interface import implementer

from scfd.events import Message, Task, TaskResult, TaskStatus, TriggerEvent
from scfd.interfaces import IFramework, ITaskPlugin


@implementer(ITaskPlugin)
class Worker:
    name = "worker"

    def init(self, framework: IFramework) -> None:
        self.done = Path(framework.config.plugin["done"])

    async def on_task(self, task: Task, event: TriggerEvent) -> object:
        do = task.params.get("do")
        if do == "raise":
            return task.params["symbol"]
        await asyncio.sleep(1000 if do == "hang" else task.params.get("seconds", 0))
        with self.done.open("a") as done:
            print(task.task_id, file=done)
        return {"rows": 3} if do == "dict" else "done"

    async def on_message(self, message: Message, event: TriggerEvent) -> Any:
        if message.data == "fail" and message.delivered == 1:
            raise ValueError("not yet")
        text = f"{message.data!r} on {message.subject}, delivery {message.delivered}"
        return TaskResult("message", TaskStatus.SUCCESS, text)


worker = Worker()
