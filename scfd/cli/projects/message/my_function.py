"""What my-function does with a message. Begin here."""

from attrs import frozen
from twisted.logger import Logger

from scfd.events import Message, TaskResult, TaskStatus, TriggerEvent
from scfd.function import Framework, TaskPlugin

log = Logger(namespace="scfd.plugin.my-function")


@frozen
class Settings:
    """The `plugin` section of config.yaml."""

    currency: str = "EUR"


class MyFunction(TaskPlugin[Settings]):
    name = "my-function"

    def init(self, framework: Framework[Settings]) -> None:
        self.settings = framework.config.plugin

    async def on_message(self, message: Message, event: TriggerEvent) -> TaskResult:
        """Called for each message. It may await asyncio and Deferreds alike."""
        order = message.data  # JSON; when this method fails, the message is delivered again
        text = f"{order['pieces'] * order['price']:.2f} {self.settings.currency}"
        log.info("{subject}: {text}", subject=message.subject, text=text)
        return TaskResult(order["task_id"], TaskStatus.SUCCESS, text)


plugin = MyFunction()
