"""
The heartbeat: the node says that it is there, and the answer says what it is to do.

``POST {server}/gateway/cloudnode/ReportHeartbeatInner`` with the node's identity and the digest of
its task list. The answer may carry a new task list, and the version that should be running.
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
#: What a control plane sends as ``tasks_md5`` while it does not know its own list yet.
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
    What became of the heartbeats so far.

    :ivar last_report: when the last one was accepted, seconds since the epoch; None before the first.
    :ivar report_count: how many were accepted.
    :ivar error_count: how many were not, after all their tries.
    """

    last_report: float | None = None
    report_count: int = 0
    error_count: int = 0


@frozen
class Orders:
    """
    What an accepted heartbeat's answer asks of the node.

    :ivar tasks: the whole new task list; None to keep the one there is.
    :ivar package_version: the version that should be running; empty when the answer names none.
    """

    tasks: list[Any] | None = None
    package_version: str = ""


def parse_answer(body: bytes) -> Orders:
    """
    Read the answer to a heartbeat.

    :raises ValueError: when it is no acceptance, with a text that says why.
    """
    answer = from_json(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("code"), (int, float)):
        raise ValueError("the answer is not an object with a code")
    if answer["code"] != 200:
        raise ValueError(f"code {answer['code']}: {answer.get('message')}")
    data = answer.get("data")
    if not isinstance(data, (list, type(None))):
        raise ValueError("the answer's data is not a list")
    if not data or not isinstance(data[0], dict):
        return Orders()
    version = data[0].get("package_version")
    return Orders(_new_tasks(data[0]), version if isinstance(version, str) else "")


def _new_tasks(entry: dict[str, Any]) -> list[Any] | None:
    tasks, digest = entry.get("task_instances"), entry.get("tasks_md5")
    if not isinstance(tasks, (list, type(None))):
        raise ValueError("the answer's task_instances is not a list")
    if tasks is None or digest == INITIALIZING:
        return None
    # An empty list alone says nothing: only together with the digest of nothing is it meant.
    return tasks if tasks or digest == EMPTY_MD5 else None


class _RefusedError(Exception):
    """The control plane heard the heartbeat and did not accept it; trying again is no use."""


class _RetryError(Exception):
    """The control plane did not hear the heartbeat out; the next try may do better."""


class Heartbeat(Service):
    """
    Reports in, at once and then every ``interval`` seconds.

    :param wrong_version: called with the version that should be running when it is another one.
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
        """Report in at once, unless a report is under way: the node has just learned where to."""
        if self._loop.running and self._beating is None:
            self._loop.stop()
            self._loop.start(self.interval, now=True)

    def _beat(self) -> Deferred[None] | None:
        """One heartbeat with its tries. It does not fail, or there would be no further one."""
        if not self._identity.node_id:
            self._say_once(
                "no node id: heartbeats are skipped until SCF_FUNCTIONNAME or system.node_id is set",
                warn=True,
            )
            return None
        if not self._identity.server.base_url:
            self._say_once("no control plane address yet: waiting for a probe to bring it")
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
            # The next heartbeat tries with fresher news; this one must not stand in its way.
            if attempt + 1 == ATTEMPTS or self._clock.seconds() + pause >= began + self.interval:
                break
            await deferLater(self._clock, pause)
        self._failed(reason)

    async def _exchange(self) -> Orders:
        answer = await self._client.post(self._identity.endpoint(PATH), self._message(), REQUEST_TIMEOUT)
        if answer.status != 200:
            raise _RetryError(f"HTTP status {answer.status}")
        try:
            return parse_answer(answer.body)
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
        """Log what has changed since the last heartbeat; one line each 9 s would drown the rest."""
        if text != self._said:
            self._said = text
            (_log.warn if warn else _log.info)("{text}", text=text)
