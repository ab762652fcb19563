from attrs import frozen
from twisted.logger import Logger

from scfd.events import Task, TriggerEvent
from scfd.function import Framework, TaskPlugin

log = Logger(namespace="scfd.plugin.hello")


@frozen
class Settings:
    greeting: str
    loud: bool = False


class Hello(TaskPlugin[Settings]):
    name = "hello"

    def init(self, framework: Framework[Settings]) -> None:
        self.settings = framework.config.plugin

    async def on_task(self, task: Task, event: TriggerEvent) -> str:
        text = f"{self.settings.greeting}, {task.task_id}"
        log.info("{text}", text=text.upper() if self.settings.loud else text)
        return text


hello = Hello()
