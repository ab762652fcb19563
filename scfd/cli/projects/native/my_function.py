"""What my-function does with a task. Begin here."""

from attrs import frozen
from twisted.logger import Logger

from scfd.events import Task, TriggerEvent
from scfd.function import Framework, TaskPlugin

log = Logger(namespace="scfd.plugin.my-function")


@frozen
class Settings:
    """The `plugin` section of config.yaml."""

    greeting: str = "Hello"


class MyFunction(TaskPlugin[Settings]):
    name = "my-function"

    def init(self, framework: Framework[Settings]) -> None:
        self.settings = framework.config.plugin

    async def on_task(self, task: Task, event: TriggerEvent) -> object:
        """Called for each task at each fire of the timer. It may await asyncio and Deferreds alike."""
        text = f"{self.settings.greeting}, {task.params['name']}"
        log.info("{text}", text=text)
        return text  # the result; when this method fails, the task has failed


plugin = MyFunction()
