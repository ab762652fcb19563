"""A control plane that does what a test tells it, over real sockets, and remembers all it was told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from scfd.control_plane.signing import Signer
from tests.integration.daemon import free_ports, reactor

HEARTBEAT = "/cloudnode/ReportHeartbeatInner"
REPORT = "/collectmgr/ReportTaskStatus"
PREFIXES = {1: "/gateway", 2: "/api/service", 3: "/api/service"}
#: The fields that a server of generation 3 knows; with any other it refuses a request.
STRICT = {
    HEARTBEAT: {
        "node_id",
        "node_type",
        "running_version",
        "source_service",
        "timestamp",
        "metrics",
        "metadata",
        "supported_collectors",
        "tasks_md5",
        "local_dns_records",
    },
    REPORT: {"instance_id", "node_id", "status", "result"},
}


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

    @property
    def task_id(self) -> str:
        """The task of a report."""
        name: str = self.json.get("id") or self.json["instance_id"]
        return name


@frozen
class Say:
    """
    One response.

    :ivar body: sent as it is when it is bytes, else as JSON; None for an acceptance in the words of the
        server's generation.
    :ivar delay: in seconds.
    :ivar orders: what an acceptance of a heartbeat asks for, in the words of generation 1.
    """

    body: Any = None
    status: int = 200
    delay: float = 0.0
    orders: Mapping[str, Any] | None = None


def tasks_response(tasks: Any, md5: str = "x", **more: Any) -> Say:
    """The acceptance of a heartbeat, with a task list."""
    return Say(orders={"tasks_md5": md5, "task_instances": tasks, **more})


def info(code: int, text: str = "", **fields: Any) -> dict[str, Any]:
    """The body of a response of generation 3."""
    return {"ret_info": {"code": code, "msg": text}, **fields}


def _accepted(generation: int, orders: Mapping[str, Any] | None) -> dict[str, Any]:
    if generation < 3:
        return {"code": 200, "message": "ok", "data": [] if orders is None else [orders]}
    fields = dict(orders or {})
    tasks = fields.get("task_instances")
    if isinstance(tasks, list):
        fields["task_instances"] = [_of_generation_3(task) for task in tasks]
    return info(0, **fields)


def _of_generation_3(task: Any) -> Any:
    if not isinstance(task, dict) or "invalid" not in task:
        return task
    rest = {name: value for name, value in task.items() if name != "invalid"}
    return {**rest, "is_deleted": "true" if task["invalid"] else "false"}


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
    Responds to calls of other paths, unsigned ones and those with unknown fields as a server of its
    generation does; a test is asked about the others only.

    :param generation: of the protocol.
    :param keys: the node's, for generations 2 and 3.
    :ivar port: where it listens whenever it is up.
    :ivar on_heartbeat: called with each heartbeat; returns a `Say`.
    :ivar on_report: called with each report; returns a `Say`.
    """

    isLeaf = True

    def __init__(self, generation: int = 1, keys: Signer | None = None) -> None:
        super().__init__()
        self.generation = generation
        self._keys = keys
        self.heard: list[Heard] = []
        self.on_heartbeat: Callable[[Heard], Say] = lambda heard: Say()
        self.on_report: Callable[[Heard], Say] = lambda heard: Say()
        self._site = TrackingSite(self)
        self.port = free_ports(1)[0]
        self._listening: Any = None

    def listen(self) -> None:
        self._listening = reactor.listenTCP(self.port, self._site, interface="127.0.0.1")

    async def close(self) -> None:
        """Go down, open connections included."""
        if self._listening is not None:
            listening, self._listening = self._listening, None
            await listening.stopListening()
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
        say = self._refuse(heard)
        if say is None:
            self.heard.append(heard)
            say = (self.on_heartbeat if "Heartbeat" in heard.path else self.on_report)(heard)
        gone = request.notifyFinish()
        answer = deferLater(reactor, say.delay, self._answer, request, say)
        gone.addErrback(lambda failure: answer.cancel())
        answer.addErrback(lambda failure: None)
        return NOT_DONE_YET

    def _refuse(self, heard: Heard) -> Say | None:
        prefix = PREFIXES[self.generation]
        method = heard.path.removeprefix(prefix)
        if not heard.path.startswith(prefix) or method not in STRICT:
            return Say(info(3, "no permission")) if self.generation == 1 else Say(b"404 page not found", 404)
        if self.generation == 1 or self._keys is None:
            return None
        if not self._keys.verifies(heard.headers.get("auth", ""), heard.body):
            return Say(b"service auth failed", 401)
        unknown = [name for name in heard.json if name not in STRICT[method]]
        return Say(info(1, f'unknown field "{unknown[0]}"')) if unknown and self.generation == 3 else None

    def _answer(self, request: Request, say: Say) -> None:
        body = _accepted(self.generation, say.orders) if say.body is None else say.body
        request.setResponseCode(say.status)
        request.write(body if isinstance(body, bytes) else json.dumps(body).encode())
        request.finish()

    @property
    def heartbeats(self) -> list[Heard]:
        return [heard for heard in self.heard if "Heartbeat" in heard.path]

    @property
    def reports(self) -> list[Heard]:
        return [heard for heard in self.heard if "ReportTaskStatus" in heard.path]
