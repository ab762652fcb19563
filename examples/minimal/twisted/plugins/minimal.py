import asyncio

from scfd.events import Task, TriggerEvent
from scfd.function import Framework, TaskPlugin


class Minimal(TaskPlugin):
    name = "minimal"

    def init(self, framework: Framework) -> None:
        self.currency = framework.config.plugin["currency"]

    async def on_task(self, task: Task, event: TriggerEvent) -> object:
        await asyncio.sleep(0.1)  # here a real one asks somebody, with httpx or treq
        total = task.params["pieces"] * task.params["price"]
        return {"total": total, "currency": self.currency}


minimal = Minimal()
