"""A node as its operators see it: a real dispatcher and real timers, on a clock of the test."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timezone
from typing import Any, cast

from twisted.internet.task import Clock

from scfd.admin.parts import Parts
from scfd.admin.routes import AdminRoutes
from scfd.config import AdminSettings, Config, SystemSettings, TimerSettings
from scfd.control_plane.learning import LearningClient
from scfd.dispatch import Dispatcher
from scfd.events.event import TriggerEvent, TriggerResponse
from scfd.events.tasks import TaskStore
from scfd.events.wire import from_json, to_json
from scfd.identity import Identity
from scfd.reports.delivery import Reports
from scfd.status.context import Context
from scfd.triggers.timer.cron import Cron
from scfd.triggers.timer.trigger import Timers
from scfd.web import Guarded, NoSuchPath, RoutesResource
from tests.fakes import FakeAdapter, MemoryReports
from tests.http_fakes import Caller, Received

#: 2027-01-15T08:00:00Z
START = 1_800_000_000.0


class OperatedReports(MemoryReports):
    """Reports that never deliver."""

    delivered = 0

    def pending(self) -> int:
        return len(self.accepted)


class Operated:
    """
    A running node.

    :param plugin: see `FakeAdapter`.
    :param timers: names and cron expressions.
    :ivar ended: who has asked the node to end.
    """

    def __init__(
        self,
        plugin: Callable[[TriggerEvent], Any] = lambda event: TriggerResponse(),
        *timers: tuple[str, str],
        token: str = "",
    ) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.context = Context(self.clock, self.clock.seconds)
        self.context.availability.set(True)
        self.tasks, self.reports = TaskStore(), OperatedReports()
        self.adapter = FakeAdapter(plugin)
        self.ended: list[str] = []
        identity = Identity("node-abc", "v1")
        self.dispatcher = Dispatcher(self.adapter, identity, self.tasks, self.reports, self.context)
        triggers = tuple(TimerSettings(name, Cron.parse(cron)) for name, cron in timers)
        self.timers = Timers(triggers, self.dispatcher.dispatch, self.tasks, timezone.utc, self.context)
        self.timers.startService()
        self.parts = Parts(
            Config(system=SystemSettings("fn", "v1"), triggers=triggers, admin=AdminSettings(token=token)),
            identity,
            self.context,
            self.adapter,
            self.dispatcher,
            self.tasks,
            cast(LearningClient, None),  # asked only where a control plane is known
            cast(Reports, self.reports),
            (self.timers,),
            self.ended.append,
        )
        routes = RoutesResource(AdminRoutes(self.parts, token), NoSuchPath())
        self._resource = Guarded(routes, ["node.example"])

    def caller(self) -> Caller:
        """A connection to the endpoint."""
        return Caller(self._resource)

    def request(self, method: str, target: str, *headers: str, body: bytes = b"") -> Received:
        """Ask the endpoint."""
        return self.caller().request(method, target, *headers, body=body)

    def post(self, body: bytes, *headers: str) -> Received:
        """Send something to ``/rpc``."""
        return self.request("POST", "/rpc", "Content-Type: application/json", *headers, body=body)

    def ask(self, method: str, *args: Any, **params: Any) -> Any:
        """Call a method: its result, or the error's code and message."""
        asked = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(args) or params}
        responded = from_json(self.post(to_json(asked)).body)
        assert responded["id"] == 7 and responded["jsonrpc"] == "2.0", responded
        if "error" in responded:
            return responded["error"]["code"], responded["error"]["message"]
        return responded["result"]

    def tick(self, seconds: int = 1) -> None:
        """Let seconds pass."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.timers.tick(self.clock.seconds())
