"""
The heartbeat: the node reports that it is running, and the response says what it is to run.

The request has the node's identity and the digest of its task list. The response may carry a new task
list, and the version that should be running. `scfd.control_plane.generations` has the wire format.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from scfd.control_plane.generations import heartbeat_request
from scfd.control_plane.learning import HEARTBEAT, LearningClient
from scfd.control_plane.orders import Orders, RefusedError, RetryError, read_response
from scfd.deferreds import in_thread
from scfd.errors import describe
from scfd.events.long_json import without_collections
from scfd.events.tasks import LONG_LIST, TaskStore, read_long_tasks
from scfd.identity import NODE_TYPE, Identity, ServerAddress
from scfd.interfaces import IAdapter
from scfd.status.context import Context

_log = Logger(namespace="scfd.heartbeat")

#: Seconds for one try.
REQUEST_TIMEOUT = 5.0
#: Tries for one heartbeat.
ATTEMPTS = 5
#: Seconds before the second try; doubled before each further one.
FIRST_BACKOFF = 1.0
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
    :ivar first_server: the base URL of the control plane that accepted the first one; empty before that.
    """

    last_report: float | None = None
    report_count: int = 0
    error_count: int = 0
    first_server: str = ""


class Heartbeat(Service):
    """
    Sends a heartbeat at the start and then every ``interval`` seconds.

    :param wrong_version: called with the version that should be running, when that is not the node's.
    :ivar record: a `HeartbeatRecord`.
    """

    def __init__(
        self,
        client: LearningClient,
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
        self._failing = False
        self._candidate: ServerAddress | None = None
        self._moving: Deferred[None] | None = None
        self._loop = LoopingCall(self._beat)
        self._loop.clock = context.reactor
        client.on_doubt = self.report_now

    def startService(self) -> None:
        super().startService()
        self._loop.start(self.interval, now=True)
        self._try_candidate()

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        for under_way in (self._beating, self._moving):
            if under_way is not None:
                under_way.cancel()

    def move_to(self, address: ServerAddress) -> None:
        """
        Take another address. While the present one may work, that is kept until a heartbeat has been
        accepted at the new one: a wrong address would cut the node off.
        """
        present = self._identity.server.base_url
        if address.base_url == present:
            self._identity.server, self._candidate = address, None
        elif not present or not self._identity.node_id or self._failing:
            self._take_address(address)
            self.report_now()
        else:
            self._candidate = address
            self._try_candidate()

    def _take_address(self, address: ServerAddress) -> None:
        self._identity.server, self._candidate, self._failing = address, None, False
        self._metrics.control_plane_moves.labels("taken").inc()

    def _try_candidate(self) -> None:
        if self._candidate is not None and self.running and self._moving is None:
            tried = self._candidate
            self._moving = Deferred.fromCoroutine(self._move(tried))
            self._moving.addErrback(self._unexpected).addCallback(self._moved, tried)

    async def _move(self, address: ServerAddress) -> None:
        try:
            orders = await self._exchange(address.base_url)
        except CancelledError:
            raise
        except Exception as error:
            self._metrics.control_plane_moves.labels("kept").inc()
            _log.warn(
                "{address}, which a probe named, accepted no heartbeat ({reason}); {present} stays",
                address=address.base_url,
                reason=_reason(error),
                present=self._identity.server.base_url,
            )
            return
        if address == self._candidate:
            self._take_address(address)
            _log.info("the control plane is now {address}", address=address.base_url)
            await self._accepted(orders)

    def _moved(self, _: object, tried: ServerAddress) -> None:
        self._moving = None
        if self._candidate != tried:  # a probe has named another one meanwhile
            self._try_candidate()

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
                server = self._identity.server.base_url
                orders = await self._exchange(server)
            except CancelledError:
                raise
            except Exception as error:
                reason = _reason(error)
                if isinstance(error, RefusedError):
                    break
            else:
                if server == self._identity.server.base_url:  # else it has just been replaced
                    await self._accepted(orders)
                return
            pause = FIRST_BACKOFF * 2**attempt
            # The next heartbeat has newer figures; this one must not delay it.
            if attempt + 1 == ATTEMPTS or self._clock.seconds() + pause >= began + self.interval:
                break
            await deferLater(self._clock, pause)
        if server == self._identity.server.base_url:
            self._failed(reason)

    async def _exchange(self, server: str) -> Orders:
        message = self._message()
        return read_response(
            await self._client.call(
                server, HEARTBEAT, lambda generation: heartbeat_request(generation, message), REQUEST_TIMEOUT
            )
        )

    def _message(self) -> dict[str, Any]:
        return {
            "node_id": self._identity.node_id,
            "node_type": NODE_TYPE,
            "running_version": self._identity.version,
            "metadata": {"version": self._identity.version, **host_metadata()},
            "tasks_md5": self._task_store.current_md5(),
            **self._adapter.heartbeat_extra(),
        }

    async def _accepted(self, orders: Orders) -> None:
        self.record.last_report = self._now()
        if not self.record.report_count:
            self.record.first_server = self._identity.server.base_url
        self.record.report_count += 1
        self._failing = False
        self._metrics.heartbeats.labels("accepted").inc()
        self._readiness.well(_COMPONENT)
        self._say_once(f"accepted by {self._identity.server.base_url}")
        if orders.tasks is not None:
            await self._take_tasks(orders.tasks)
        self._compare_version(orders.package_version)

    def _compare_version(self, wanted: str) -> None:
        """:param wanted: empty when the control plane does not say."""
        if not wanted or wanted == self._identity.version:
            self._readiness.well("version")
            return
        self._readiness.warning(
            "version",
            f"version {wanted} should be running, this is {self._identity.version}",
            f"deploy {wanted}, or have the control plane ask for {self._identity.version}",
        )
        self._wrong_version(wanted)

    async def _take_tasks(self, entries: list[Any]) -> None:
        if len(entries) <= LONG_LIST:
            self._task_store.replace(entries)
        else:
            read = in_thread(self._clock, without_collections, read_long_tasks, entries)
            self._task_store.take(await read)

    def _failed(self, reason: str) -> None:
        self.record.error_count += 1
        self._failing = True
        self._metrics.heartbeats.labels("failed").inc()
        self._readiness.problem(
            _COMPONENT,
            f"no heartbeat accepted by {self._identity.server.base_url}: {reason}",
            "look whether it runs and can be reached from here; where it refuses, compare heartbeat.*, "
            "system.node_id and system.version with what it knows of this node",
        )
        self._say_once(f"not accepted by {self._identity.server.base_url}: {reason}", warn=True)
        if self._candidate is not None:
            self._take_address(self._candidate)

    def _say_once(self, text: str, warn: bool = False) -> None:
        """Log a text that differs from the last one: the same line every 9 s would hide the others."""
        if text != self._said:
            self._said = text
            (_log.warn if warn else _log.info)("{text}", text=text)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (RefusedError, RetryError)) else describe(error)


class VersionLog:
    """For ``on_version_mismatch: log``: says once that another version should be running."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._said = ""

    def __call__(self, wanted: str) -> None:
        if wanted != self._said:
            self._said = wanted
            _log.warn(
                "version {wanted} should be running, this is {version};"
                " the node stays (heartbeat.on_version_mismatch: log)",
                wanted=wanted,
                version=self._version,
            )
