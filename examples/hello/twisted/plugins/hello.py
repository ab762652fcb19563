from twisted.logger import Logger
from zope.interface import implementer

from scfd.events import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.interfaces import IFramework, IFunctionPlugin

log = Logger(namespace="scfd.plugin.hello")


@implementer(IFunctionPlugin)
class Hello:
    name = "hello"

    def init(self, framework: IFramework) -> None:
        self.greeting = framework.config.plugin["greeting"]

    def on_trigger(self, event: TriggerEvent) -> TriggerResponse:
        names = [task["task_id"] for task in event.tasks if not task.get("invalid")]
        log.info("{greeting}, {names}", greeting=self.greeting, names=" and ".join(names))
        return TriggerResponse([TaskResult(name, TaskStatus.SUCCESS, self.greeting) for name in names])


hello = Hello()
