"""The development control plane as a service, on a reactor in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from treq.testing import RequestTraversalAgent, StubTreq
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import Request

from scfd.config import Address, DevControlPlaneSettings
from scfd.dev.control_plane import ControlPlane
from scfd.errors import StartupError
from tests.fakes import FakeSockets

URL = "http://127.0.0.1:18202"


class InlineThreads:
    """A thread pool whose threads take no time."""

    def callInThreadWithCallback(  # noqa: N802 (the name is Twisted's)
        self, done: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        try:
            result = function(*args, **kwargs)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)


class Reactor(MemoryReactorClock):
    """A reactor whose threads take no time."""

    def getThreadPool(self) -> InlineThreads:  # noqa: N802 (the name is Twisted's)
        return InlineThreads()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Node(Resource):
    """
    Responds to probes.

    :ivar tokens: what each of them had as Authorization.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str | None] = []

    def render_POST(self, request: Request) -> bytes:
        self.tokens.append(request.getHeader("Authorization"))
        return b'{"success": true}'


class ControlPlaneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor, self.sockets = Reactor(), FakeSockets()
        self.node = Node()
        self.file = Path(self.mktemp())
        self.file.write_text("- task_id: a\n")

    def make(self, settings: DevControlPlaneSettings, node_url: str | None = None) -> ControlPlane:
        agent = RequestTraversalAgent(self.node)
        return ControlPlane(settings, node_url, self.reactor, agent, bind=self.sockets)

    def start(self, settings: DevControlPlaneSettings, node_url: str | None = None) -> ControlPlane:
        service = self.make(settings, node_url)
        self.successResultOf(service.startService())
        self.addCleanup(service.stopService)
        return service

    def http(self) -> Any:
        """A client of the port that was opened."""
        site: Any = self.reactor.adoptedPorts[0][2]
        return StubTreq(site.resource)

    def served_tasks(self) -> list[str]:
        response = self.successResultOf(self.http().get(f"{URL}/state"))
        return [task["task_id"] for task in self.successResultOf(response.json())["tasks"]]

    def texts(self, do: Callable[[], object]) -> list[tuple[LogLevel, str]]:
        with capturedLogs() as events:
            do()
        ours = [event for event in events if event["log_namespace"] == "scfd.dev.control_plane"]
        return [(event["log_level"], event["log_format"].format(**event)) for event in ours]

    def test_listens_and_serves_the_tasks(self) -> None:
        self.start(DevControlPlaneSettings(tasks=str(self.file)))
        self.assertEqual([Address("127.0.0.1", 18202)], self.sockets.addresses)
        self.assertEqual(["a"], self.served_tasks())

    def test_without_a_task_file(self) -> None:
        self.start(DevControlPlaneSettings())
        self.assertEqual([], self.served_tasks())

    def test_takes_changes_of_the_file(self) -> None:
        self.start(DevControlPlaneSettings(tasks=str(self.file)))
        self.file.write_text("- task_id: a\n- task_id: b\n")
        self.assertEqual(
            [(LogLevel.info, "the task file has changed: 2 tasks")],
            self.texts(lambda: self.reactor.advance(1)),
        )
        self.assertEqual(["a", "b"], self.served_tasks())

    def test_keeps_the_last_good_list(self) -> None:
        self.start(DevControlPlaneSettings(tasks=str(self.file)))
        self.file.write_text("- task_id: a\n- task_id: 5\n- 6\n")
        self.assertEqual(
            [
                (
                    LogLevel.warn,
                    "the last good task list stays in use: "
                    f"{self.file}:2: tasks[1].task_id: text is expected, such as task-001; "
                    f"{self.file}:3: tasks[2]: a mapping with a task_id is expected",
                )
            ],
            self.texts(lambda: self.reactor.pump([1] * 3)),
        )
        self.assertEqual(["a"], self.served_tasks())
        self.file.write_text("- task_id: c\n")
        self.reactor.advance(1)
        self.assertEqual(["c"], self.served_tasks())

    def test_a_task_file_with_a_mistake_keeps_it_from_starting(self) -> None:
        self.file.write_text("tasks: 5")
        failure = self.failureResultOf(
            self.make(DevControlPlaneSettings(tasks=str(self.file))).startService(), StartupError
        )
        self.assertEqual(
            f"{self.file}:1: a list of tasks is expected; write [] for none", failure.getErrorMessage()
        )
        self.assertEqual([], self.reactor.adoptedPorts)

    def test_a_port_in_use_keeps_it_from_starting(self) -> None:
        self.sockets.error = StartupError("dev.control_plane.listen: in use")
        failure = self.failureResultOf(self.make(DevControlPlaneSettings()).startService(), StartupError)
        self.assertEqual("dev.control_plane.listen: in use", failure.getErrorMessage())

    def test_probes_the_node(self) -> None:
        self.start(DevControlPlaneSettings(), "http://127.0.0.1:9000")
        self.assertEqual([None], self.node.tokens)
        self.reactor.advance(5)
        self.assertEqual([None, None], self.node.tokens)

    def test_shows_the_node_its_token(self) -> None:
        agent = RequestTraversalAgent(self.node)
        service = ControlPlane(
            DevControlPlaneSettings(), "http://127.0.0.1:9000", self.reactor, agent, "sesame", self.sockets
        )
        self.successResultOf(service.startService())
        self.addCleanup(service.stopService)
        self.assertEqual(["Bearer sesame"], self.node.tokens)

    def test_stops(self) -> None:
        service = self.start(DevControlPlaneSettings(tasks=str(self.file)), "http://127.0.0.1:9000")
        self.successResultOf(service.stopService())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stops_in_the_middle_of_a_late_response(self) -> None:
        service = self.start(DevControlPlaneSettings())
        http = self.http()
        self.successResultOf(http.post(f"{URL}/faults", json={"slow": 60}))
        late = http.post(f"{URL}/gateway/cloudnode/ReportHeartbeatInner", json={"node_id": "n"})
        http.flush()
        self.reactor.advance(1)
        self.assertNoResult(late)
        self.successResultOf(service.stopService())
        http.flush()
        self.failureResultOf(late, ResponseNeverReceived)
        self.assertEqual([], self.reactor.getDelayedCalls())
