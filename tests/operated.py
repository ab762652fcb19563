"""A node as its operators see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from scfd.admin.routes import AdminRoutes
from scfd.config import AdminSettings
from scfd.events.event import TriggerEvent, TriggerResponse
from scfd.events.wire import from_json, to_json
from scfd.site import Guarded, NoSuchPath, RoutesResource
from scfd.testing import Node
from tests.http_fakes import Caller, Received
from tests.nodes import Plugin, timer

CONFIG = {"system": {"name": "fn", "version": "v1", "node_id": "node-abc"}}


class Operated(Node):
    """
    A running node whose endpoint for operators is in memory as well.

    :param act: the plugin.
    :param triggers: names and cron expressions of timers; settings of others.
    :ivar ended: who has asked the node to end.
    """

    def __init__(
        self,
        act: Callable[[TriggerEvent], Any] = lambda event: TriggerResponse(),
        *triggers: tuple[str, str] | dict[str, Any],
        token: str = "",
    ) -> None:
        config = {
            **CONFIG,
            "triggers": [timer(*each) if isinstance(each, tuple) else each for each in triggers],
        }
        super().__init__(Plugin(act), config, start="2027-01-15T08:00:00Z")
        self.ended: list[str] = []
        cfg = evolve(self.parts.cfg, admin=AdminSettings(token=token))
        self.parts = evolve(self.parts, cfg=cfg, end=self.ended.append)
        routes = RoutesResource(AdminRoutes(self.parts, token), NoSuchPath())
        self._resource = Guarded(routes, ["node.example"])

    def caller(self) -> Caller:
        """A connection to the endpoint."""
        return Caller(self._resource)

    def request(self, method: str, target: str, *headers: str, body: bytes = b"") -> Received:
        """Ask the endpoint."""
        caller = self.caller()
        self.call(lambda: caller.ask(method, target, *headers, body=body))
        self.advance()
        return caller.answer(method)

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
        self.advance(seconds=seconds)
