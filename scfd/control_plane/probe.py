"""
The probe: the control plane tells the node its address, and gets the node's state.

``POST /probe`` on the gateway. The node also looks again for the id that the platform gives it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from twisted.logger import Logger

from scfd.control_plane.heartbeat import Heartbeat, host_metadata
from scfd.control_plane.probe_message import (
    is_allowed,
    is_usable,
    node_id,
    parse_probe,
    server_address,
    storage_url,
)
from scfd.events.tasks import TaskStore, is_valid
from scfd.events.wire import rfc3339
from scfd.identity import NODE_TYPE, Identity, ServerAddress
from scfd.interfaces import IAdapter
from scfd.status.context import Context
from scfd.web import Response

_log = Logger(namespace="scfd.probe")


class Usage:
    """CPU and memory that this process uses."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def cpu_percent(self) -> float:
        """Percent of one core, since the last call or the start."""
        wall, cpu = time.monotonic(), time.process_time()
        percent = 100 * (cpu - self._cpu) / max(wall - self._wall, 1e-6)
        self._wall, self._cpu = wall, cpu
        return round(percent, 2)

    def memory_mib(self) -> float:
        """Resident memory in MiB; the highest so far where the system does not tell the present one."""
        try:
            with open("/proc/self/statm", "rb") as statm:  # never touches a disk
                size = int(statm.read().split()[1]) * resource.getpagesize()
        except OSError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            size = peak if sys.platform == "darwin" else peak * 1024
        return round(size / 2**20, 2)


class EventCounts(Protocol):
    """What the probe's response tells of events; the dispatcher has it."""

    @property
    def succeeded(self) -> int:
        """Events that ended well since the start."""

    @property
    def failed(self) -> int:
        """Events that did not."""

    @property
    def failing(self) -> Set[str]:
        """Ids of the tasks whose last result was a failure."""


class ProbeHandler:
    """
    Responds to probes.

    :param counts: figures of the events that the node has handled.
    :param environ: read at each probe: the platform may set the function's name after the start.
    :param allowed_servers: what a probe may name as the control plane: see `is_allowed`.
    """

    def __init__(
        self,
        identity: Identity,
        task_store: TaskStore,
        adapter: IAdapter,
        heartbeat: Heartbeat,
        counts: EventCounts,
        context: Context,
        environ: Mapping[str, str] = os.environ,
        allowed_servers: Sequence[str] = (),
    ) -> None:
        self._identity = identity
        self._task_store = task_store
        self._adapter = adapter
        self._heartbeat = heartbeat
        self._counts = counts
        self._metrics = context.metrics
        self._readiness = context.readiness
        self._now = context.now
        self._allowed_servers = allowed_servers
        self._environ = environ
        self._usage = Usage()

    def handle(self, body: bytes) -> Response:
        """Respond to one probe; a malformed one gets status 400 and changes nothing."""
        try:
            probe = parse_probe(body)
            address = server_address(probe)
        except ValueError as error:
            return self._refuse("refused", str(error), 400)
        usable = address is not None and is_usable(address.base_url)
        first = self._heartbeat.record.first_server
        if address is not None and usable and not is_allowed(address, self._allowed_servers, first):
            return self._refuse("forbidden", f"{address.base_url} is not among the allowed servers", 403)
        self._metrics.probes.labels("accepted").inc()
        self._learn(probe, address)
        if not self._identity.node_id:
            message = "failed to build response: node ID is empty"
            return Response.json({"success": False, "message": message, "timestamp": self._timestamp()})
        return Response.json(
            {
                "success": True,
                "message": "probe handled successfully",
                "timestamp": self._timestamp(),
                "request_id": probe.get("request_id", ""),
                "data": {
                    "node_id": self._identity.node_id,
                    "state": self._readiness.phase.value,
                    "timestamp": self._timestamp(),
                    "details": self._details(),
                },
            }
        )

    def unauthorised(self) -> Response:
        """Respond to a probe without the right token."""
        return self._refuse("unauthorised", "a Bearer token is asked for", 401)

    def not_json(self) -> Response:
        """Refuse a probe that does not say that it is JSON: a page in a browser may send it across sites."""
        return self._refuse("refused", "expected Content-Type: application/json", 415)

    def from_a_page(self) -> Response:
        """
        Refuse a probe that a page in a browser has sent.

        A plugin that lets pages of other sites send JSON says so for the whole gateway when a browser asks.
        """
        return self._refuse("refused", "expected a control plane, not a page in a browser", 403)

    def _refuse(self, outcome: str, message: str, status: int) -> Response:
        self._metrics.probes.labels(outcome).inc()
        _log.warn("a probe was {outcome}: {reason}", outcome=outcome, reason=message)
        return Response.json({"success": False, "message": message, "timestamp": self._timestamp()}, status)

    def _learn(self, probe: Mapping[str, Any], address: ServerAddress | None) -> None:
        knew = (self._identity.node_id, self._identity.server.base_url)
        if not self._identity.read_identity(self._environ) and node_id(probe):
            self._identity.node_id = node_id(probe)
        self._identity.storage_server_url = storage_url(probe) or self._identity.storage_server_url
        if probe.get("storage_server_rpc"):
            self._identity.storage_server_rpc = probe["storage_server_rpc"]
        if address is None:
            _log.warn("a probe named no control plane address; the old one stays")
        elif not is_usable(address.base_url):
            self._metrics.control_plane_moves.labels("unusable").inc()
            _log.warn(
                "a probe named {address}, which is no server's address; the old one stays",
                address=address.base_url,
            )
        else:
            self._heartbeat.move_to(address)
        if knew != (self._identity.node_id, self._identity.server.base_url):
            _log.info(
                "probed: this is node {node_id}, its control plane is {server}",
                node_id=self._identity.node_id or "(no id)",
                server=self._identity.server.base_url or "(no address)",
            )
            if knew[0] != self._identity.node_id:
                self._heartbeat.report_now()

    def _timestamp(self) -> str:
        return rfc3339(self._now())

    def _details(self) -> dict[str, Any]:
        running = [task["task_id"] for task in self._task_store.get_all() if is_valid(task)]
        total = len(self._task_store.get_all())
        host = host_metadata()
        return {
            "node_info": {
                "node_id": self._identity.node_id,
                "node_type": NODE_TYPE,
                "version": self._identity.version,
                "running_tasks": running,
                "capabilities": [self._adapter.plugin_name],
                "metadata": host,
            },
            "running_tasks": [{"task_id": task_id, "status": "running"} for task_id in running],
            "task_stats": {
                "total": total,
                "running": len(running),
                "pending": 0,
                "stopped": total - len(running),
                "error": len(self._counts.failing & self._task_store.snapshot.ids),
            },
            "metrics": self._figures(total),
            "system_info": {**host, "num_cpu": os.cpu_count() or 1},
            "heartbeat_info": self._heartbeat_info(),
        }

    def _figures(self, task_count: int) -> dict[str, Any]:
        ended = self._counts.succeeded + self._counts.failed
        return {
            "cpu_usage": self._usage.cpu_percent(),
            "memory_usage": self._usage.memory_mib(),
            "task_count": task_count,
            "success_rate": self._counts.succeeded / ended if ended else 1.0,
            "error_count": self._counts.failed,
            "timestamp": self._timestamp(),
        }

    def _heartbeat_info(self) -> dict[str, Any]:
        record, server = self._heartbeat.record, self._identity.server
        return {
            "last_report": None if record.last_report is None else rfc3339(record.last_report),
            "report_count": record.report_count,
            "error_count": record.error_count,
            "interval": f"{self._heartbeat.interval:g}s",
            "server_ip": server.ip,
            "server_port": server.port,
            "moox_server_url": server.url,
        }
