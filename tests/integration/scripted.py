"""A control plane that does what a test tells it, over real sockets, and remembers all it was told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import field, frozen
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.integration.daemon import reactor

HEARTBEAT = "/gateway/cloudnode/ReportHeartbeatInner"
REPORT = "/gateway/collectmgr/ReportTaskStatus"


@frozen
class Heard:
    """One request: when it came, how, and what its body said."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@frozen
class Say:
    """One answer: `body` is sent as it is when it is bytes, else as JSON; ``delay`` is in seconds."""

    body: Any = field(factory=lambda: {"code": 200, "message": "ok"})
    status: int = 200
    delay: float = 0.0


def tasks_answer(tasks: Any, md5: str = "x", **more: Any) -> Say:
    """The acceptance of a heartbeat, with a task list."""
    return Say({"code": 200, "message": "ok", "data": [{"tasks_md5": md5, "task_instances": tasks, **more}]})


def task(task_id: str, **more: Any) -> dict[str, Any]:
    return {"id": 1, "task_id": task_id, "rule_id": "r", "task_params": "{}", "invalid": 0, **more}


class TrackingSite(Site):
    """Knows its connections, so that a server can go down with them."""

    noisy = False

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource)
        self.connections: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        made = channel.makeConnection

        def make_connection(transport: Any) -> None:
            self.connections.append(transport)
            made(transport)

        channel.makeConnection = make_connection
        return channel

    def abort_connections(self) -> None:
        for connection in self.connections:
            connection.abortConnection()
        self.connections.clear()


class ScriptedServer(Resource):
    """
    :ivar on_heartbeat: called with each heartbeat; returns a `Say`.
    :ivar on_report: called with each report; returns a `Say`.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Heard] = []
        self.on_heartbeat: Callable[[Heard], Say] = lambda heard: Say({"code": 200, "data": []})
        self.on_report: Callable[[Heard], Say] = lambda heard: Say()
        self._site = TrackingSite(self)
        self._port: Any = None
        self.port = 0

    def listen(self, port: int = 0) -> None:
        self._port = reactor.listenTCP(port, self._site, interface="127.0.0.1")
        self.port = self._port.getHost().port

    async def close(self) -> None:
        """Go down, open connections included."""
        if self._port is not None:
            port, self._port = self._port, None
            await port.stopListening()
        self._site.abort_connections()

    def render(self, request: Request) -> int:
        assert request.content is not None
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        heard = Heard(
            reactor.seconds(), request.method.decode(), request.uri.decode(), headers, request.content.read()
        )
        self.heard.append(heard)
        say = (self.on_heartbeat if "Heartbeat" in heard.path else self.on_report)(heard)
        gone = request.notifyFinish()
        answer = deferLater(reactor, say.delay, self._answer, request, say)
        gone.addErrback(lambda failure: answer.cancel())
        answer.addErrback(lambda failure: None)
        return NOT_DONE_YET

    @staticmethod
    def _answer(request: Request, say: Say) -> None:
        request.setResponseCode(say.status)
        request.write(say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode())
        request.finish()

    @property
    def heartbeats(self) -> list[Heard]:
        return [heard for heard in self.heard if "Heartbeat" in heard.path]

    @property
    def reports(self) -> list[Heard]:
        return [heard for heard in self.heard if "ReportTaskStatus" in heard.path]
