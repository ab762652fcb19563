"""
Measures the machine it runs on: the demo plugin, and one to copy from.

A timer event has it sample what each task asks for and publish the samples to JetStream; a NATS
event brings a sample back, and it computes a rolling mean. Both report task results.

Its part of the config::

    plugin:
      nats_url: nats://127.0.0.1:14222    # where samples go, subject metrics.<metric>
      window: 12                          # samples in a rolling mean
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from scfd.deferreds import from_asyncio
from scfd.events import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.wire import rfc3339, to_json
from scfd.function import Framework, FunctionPlugin

if TYPE_CHECKING:
    from nats.aio.client import Client

# Seconds.
SAMPLE_TIMEOUT = 5.0
PUBLISH_TIMEOUT = 2.0
MEANS_LOG_PERIOD = 10.0

#: What can be measured, and how a value is shown.
FORMATS = {"cpu": "cpu {:.1f} %", "memory": "memory {:.1f} %", "disk": "disk {:.1f} %", "load": "load {:.2f}"}

# Not an attribute of a class: there it would take on the name of its class.
log = Logger(namespace="scfd.host-metrics")


class Publisher:
    """Publishes to JetStream over one connection, made at the first message; nats-py keeps it up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    def publish(self, subject: str, payload: bytes) -> Deferred[object]:
        """:returns: a Deferred that fires when a stream has stored the message, and fails after 2 s."""
        return from_asyncio(self._publish_in_time(subject, payload))

    async def _publish_in_time(self, subject: str, payload: bytes) -> object:
        try:
            return await asyncio.wait_for(self._publish(subject, payload), PUBLISH_TIMEOUT)
        except asyncio.TimeoutError:
            raise RuntimeError(f"no response from NATS within {PUBLISH_TIMEOUT:g} s") from None

    async def _publish(self, subject: str, payload: bytes) -> object:
        client = await self._connected()
        return await client.jetstream().publish(subject, payload)

    async def _connected(self) -> Client:
        import nats  # costs 150 ms, and every plugin's module is imported to find one by its name

        async with self._connecting:
            if self._client is None:
                self._client = await nats.connect(
                    self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.5, error_cb=_log_error
                )
        return self._client

    async def close(self) -> None:
        """Runs in asyncio."""
        if self._client is not None:
            await self._client.close()


async def _log_error(error: Exception) -> None:
    log.debug("nats: {error}", error=error)


class HostMetrics(FunctionPlugin):
    """:param publisher: makes a `Publisher` for the URL of a NATS server."""

    name = "host-metrics"

    def __init__(self, publisher: Callable[[str], Publisher] = Publisher) -> None:
        self._make_publisher = publisher
        self._windows: dict[str, deque[float]] = {}  # by task id, like the means
        self._means: dict[str, str] = {}

    def init(self, framework: Framework) -> None:
        """:raises RuntimeError: psutil is missing. :raises ValueError: a setting is."""
        # At the top psutil, when it is missing, would keep this plugin from being found.
        try:
            import psutil
        except ImportError:
            raise RuntimeError("psutil is not installed; install it with: pip install 'scfd[dev]'") from None
        settings: Mapping[str, Any] = framework.config.plugin
        if not settings.get("nats_url"):
            raise ValueError("plugin.nats_url is missing; it should be like nats://127.0.0.1:14222")
        self._window = settings.get("window", 12)
        if not isinstance(self._window, int) or self._window < 1:
            raise ValueError(f"plugin.window is {self._window!r}; it should be a whole number from 1")
        self._clock, self._now = framework.clock, framework.now
        self._publisher = self._make_publisher(settings["nats_url"])
        self._means_logged = self._now()
        self._psutil: Any = psutil
        psutil.cpu_percent(interval=None)  # the first call has nothing to compare with: it gives 0.0

    def heartbeat_extra(self) -> dict[str, Any]:
        return {"supported_collectors": sorted(FORMATS)}

    def on_trigger(self, event: TriggerEvent) -> Any:
        return self._on_sample(event) if event.type == "nats" else self._on_timer(event)

    def stop(self) -> Deferred[None]:
        return from_asyncio(self._publisher.close())

    async def _on_timer(self, event: TriggerEvent) -> TriggerResponse:
        # Once an event: it is the use of the CPU since the last call, for all tasks that ask for it.
        cpu = self._psutil.cpu_percent(interval=None)
        tasks = [task for task in event.tasks if task.get("invalid", 0) == 0]
        results = await gatherResults([Deferred.fromCoroutine(self._execute(task, cpu)) for task in tasks])
        if results:
            log.info("{samples}", samples=", ".join(_shown(result) for result in results))
        return TriggerResponse(results)

    async def _execute(self, task: Mapping[str, Any], cpu: float) -> TaskResult:
        """Sample what one task asks for. Its failure is in the result, so that the others stand."""
        task_id = task["task_id"]
        try:
            metric, path = _parameters(task)
            value = cpu if metric == "cpu" else await self._measure(metric, path)
            at = rfc3339(self._now())
            sample = {"task_id": task_id, "metric": metric, "value": value, "at": at}
            await self._publisher.publish(f"metrics.{metric}", to_json(sample))
        except Exception as error:
            return TaskResult(task_id, TaskStatus.FAILED, str(error) or type(error).__name__)
        return TaskResult(task_id, TaskStatus.SUCCESS, FORMATS[metric].format(value))

    async def _measure(self, metric: str, path: str) -> float:
        if metric == "memory":
            return float(self._psutil.virtual_memory().percent)
        if metric == "load":
            return float(self._psutil.getloadavg()[0])
        # A network file system may keep its caller waiting, so this one is for a thread.
        usage = await deferToThread(self._psutil.disk_usage, path).addTimeout(SAMPLE_TIMEOUT, self._clock)
        return float(usage.percent)

    def _on_sample(self, event: TriggerEvent) -> TriggerResponse | None:
        try:
            task_id, metric, value = (event.payload[key] for key in ("task_id", "metric", "value"))
            if not isinstance(task_id, str) or metric not in FORMATS:
                raise ValueError(metric)
            value = float(value)
        except (KeyError, TypeError, ValueError):
            log.warn("left out a message on {subject}: no sample", subject=event.metadata.get("subject", "?"))
            return None  # success: delivering it again would not help
        values = self._windows.setdefault(task_id, deque(maxlen=self._window))
        values.append(value)
        mean = self._means[task_id] = FORMATS[metric].format(sum(values) / len(values))
        self._log_means()
        result = f"{mean.replace(' ', ' mean ', 1)} of {len(values)}"
        return TriggerResponse([TaskResult(task_id, TaskStatus.SUCCESS, result)])

    def _log_means(self) -> None:
        """Samples come several a second: one line for all of them now and then is enough."""
        if self._now() - self._means_logged >= MEANS_LOG_PERIOD:
            self._means_logged = self._now()
            log.info("rolling means: {means}", means=", ".join(self._means.values()))


def _parameters(task: Mapping[str, Any]) -> tuple[str, str]:
    """
    :returns: metric and path of a task, from its JSON ``task_params``.
    :raises ValueError: they are not what this plugin understands.
    """
    parameters = json.loads(task.get("task_params") or "{}")
    metric = parameters.get("metric") if isinstance(parameters, dict) else None
    if metric not in FORMATS:
        raise ValueError(f"metric is {metric!r}; it should be one of {', '.join(sorted(FORMATS))}")
    return metric, parameters.get("path", "/")


def _shown(result: TaskResult) -> str:
    ok = result.status == TaskStatus.SUCCESS
    return result.result if ok else f"{result.task_id} failed: {result.result}"


host_metrics = HostMetrics()
