import asyncio

from zope.interface import implementer

from scfd.events import Task, TriggerEvent
from scfd.interfaces import IFramework, ITaskPlugin


@implementer(ITaskPlugin)
class Minimal:
    name = "minimal"

    def init(self, framework: IFramework) -> None:
        self.currency = framework.config.plugin["currency"]

    async def on_task(self, task: Task, event: TriggerEvent) -> object:
        await asyncio.sleep(0.1)  # here a real one asks somebody, with httpx or treq
        total = task.params["pieces"] * task.params["price"]
        return {"total": total, "currency": self.currency}


minimal = Minimal()
