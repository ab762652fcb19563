"""
The heartbeat: the node reports that it is running, and the response says what it is to run.

``POST {server}/gateway/cloudnode/ReportHeartbeatInner`` with the node's identity and the digest of
its task list. The response may carry a new task list, and the version that should be running.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any

from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from scfd.control_plane.client import ControlPlaneClient
from scfd.errors import describe
from scfd.events.tasks import EMPTY_MD5, TaskStore
from scfd.events.wire import from_json
from scfd.identity import NODE_TYPE, Identity
from scfd.interfaces import IAdapter
from scfd.status.context import Context

_log = Logger(namespace="scfd.heartbeat")

PATH = "/cloudnode/ReportHeartbeatInner"
#: Seconds for one try.
REQUEST_TIMEOUT = 5.0
#: Tries for one heartbeat.
ATTEMPTS = 5
#: Seconds before the second try; doubled before each further one.
FIRST_BACKOFF = 1.0
#: ``tasks_md5`` of a control plane that has not made its task list yet.
INITIALIZING = "initializing"

_COMPONENT = "control plane"


def host_metadata() -> dict[str, str]:
    """Where this process runs: ``python_version``, ``os`` and ``arch``, the latter as Go names them."""
    machine = platform.machine().lower()
    return {
        "python_version": platform.python_version(),
        "os": sys.platform,
        "arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
    }


@define
class HeartbeatRecord:
    """
    How the heartbeats since the start ended.

    :ivar last_report: when the last one was accepted, seconds since the epoch; None before the first.
    :ivar report_count: how many were accepted.
    :ivar error_count: how many failed in all their tries.
    """

    last_report: float | None = None
    report_count: int = 0
    error_count: int = 0


@frozen
class Orders:
    """
    What the response to an accepted heartbeat asks of the node.

    :ivar tasks: the whole new task list; None to keep the one there is.
    :ivar package_version: the version that should be running; empty when the response names none.
    """

    tasks: list[Any] | None = None
    package_version: str = ""


def parse_response(body: bytes) -> Orders:
    """
    Read the response to a heartbeat.

    :raises ValueError: when the heartbeat was not accepted; the text says why.
    """
    response = from_json(body)
    if not isinstance(response, dict) or not isinstance(response.get("code"), (int, float)):
        raise ValueError("the response is not an object with a code")
    if response["code"] != 200:
        raise ValueError(f"code {response['code']}: {response.get('message')}")
    data = response.get("data")
    if not isinstance(data, (list, type(None))):
        raise ValueError("the response's data is not a list")
    if not data or not isinstance(data[0], dict):
        return Orders()
    version = data[0].get("package_version")
    return Orders(_new_tasks(data[0]), version if isinstance(version, str) else "")


def _new_tasks(entry: dict[str, Any]) -> list[Any] | None:
    tasks, digest = entry.get("task_instances"), entry.get("tasks_md5")
    if not isinstance(tasks, (list, type(None))):
        raise ValueError("the response's task_instances is not a list")
    if tasks is None or digest == INITIALIZING:
        return None
    # An empty list clears the store only together with the digest "empty".
    return tasks if tasks or digest == EMPTY_MD5 else None


class _RefusedError(Exception):
    """The control plane responded, and did not accept the heartbeat; another try would end the same way."""


class _RetryError(Exception):
    """There was no usable response; another try may get one."""


class Heartbeat(Service):
    """
    Sends a heartbeat at the start and then every ``interval`` seconds.

    :param wrong_version: called with the version that should be running, when that is not the node's.
    :ivar record: a `HeartbeatRecord`.
    """

    def __init__(
        self,
        client: ControlPlaneClient,
        identity: Identity,
        task_store: TaskStore,
        adapter: IAdapter,
        interval: float,
        context: Context,
        wrong_version: Callable[[str], None],
    ) -> None:
        self._client = client
        self._identity = identity
        self._task_store = task_store
        self._adapter = adapter
        self.interval = interval
        self._metrics = context.metrics
        self._readiness = context.readiness
        self._clock = context.reactor
        self._wrong_version = wrong_version
        self._now = context.now
        self.record = HeartbeatRecord()
        self._said = ""
        self._beating: Deferred[None] | None = None
        self._loop = LoopingCall(self._beat)
        self._loop.clock = context.reactor

    def startService(self) -> None:
        super().startService()
        self._loop.start(self.interval, now=True)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._beating is not None:
            self._beating.cancel()

    def report_now(self) -> None:
        """Send a heartbeat now, unless one is under way: the node has just learned an address."""
        if self._loop.running and self._beating is None:
            self._loop.stop()
            self._loop.start(self.interval, now=True)

    def _beat(self) -> Deferred[None] | None:
        """One heartbeat with its tries. Never fails: a LoopingCall ends when its function fails."""
        if not self._identity.node_id:
            self._say_once(
                "no node id: heartbeats are skipped until SCF_FUNCTIONNAME or system.node_id is set",
                warn=True,
            )
            return None
        if not self._identity.server.base_url:
            self._say_once("no control plane address yet: waiting for a probe")
            return None
        self._beating = Deferred.fromCoroutine(self._try(self._clock.seconds()))
        return self._beating.addErrback(self._unexpected).addCallback(self._ended)

    def _ended(self, _: object) -> None:
        self._beating = None

    def _unexpected(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            _log.failure("the heartbeat failed", failure)

    async def _try(self, began: float) -> None:
        for attempt in range(ATTEMPTS):
            try:
                orders = await self._exchange()
            except _RefusedError as refusal:
                self._failed(str(refusal))
                return
            except CancelledError:
                raise
            except _RetryError as error:
                reason = str(error)
            except Exception as error:
                reason = describe(error)
            else:
                self._accepted(orders)
                return
            pause = FIRST_BACKOFF * 2**attempt
            # The next heartbeat has newer figures; this one must not delay it.
            if attempt + 1 == ATTEMPTS or self._clock.seconds() + pause >= began + self.interval:
                break
            await deferLater(self._clock, pause)
        self._failed(reason)

    async def _exchange(self) -> Orders:
        response = await self._client.post(self._identity.endpoint(PATH), self._message(), REQUEST_TIMEOUT)
        if response.status != 200:
            raise _RetryError(f"HTTP status {response.status}")
        try:
            return parse_response(response.body)
        except ValueError as error:
            raise _RefusedError(str(error)) from None

    def _message(self) -> dict[str, Any]:
        return {
            "node_id": self._identity.node_id,
            "node_type": NODE_TYPE,
            "running_version": self._identity.version,
            "metadata": {"version": self._identity.version, **host_metadata()},
            "tasks_md5": self._task_store.current_md5(),
            **self._adapter.heartbeat_extra(),
        }

    def _accepted(self, orders: Orders) -> None:
        self.record.last_report = self._now()
        self.record.report_count += 1
        self._metrics.heartbeats.labels("accepted").inc()
        self._readiness.well(_COMPONENT)
        self._say_once(f"accepted by {self._identity.server.base_url}")
        if orders.tasks is not None:
            self._task_store.replace(orders.tasks)
        if orders.package_version and orders.package_version != self._identity.version:
            self._wrong_version(orders.package_version)

    def _failed(self, reason: str) -> None:
        self.record.error_count += 1
        self._metrics.heartbeats.labels("failed").inc()
        self._readiness.problem(
            _COMPONENT, f"no heartbeat accepted by {self._identity.server.base_url}: {reason}"
        )
        self._say_once(f"not accepted by {self._identity.server.base_url}: {reason}", warn=True)

    def _say_once(self, text: str, warn: bool = False) -> None:
        """Log a text that differs from the last one: the same line every 9 s would hide the others."""
        if text != self._said:
            self._said = text
            (_log.warn if warn else _log.info)("{text}", text=text)
