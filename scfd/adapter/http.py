"""
Speaks to a plugin in a process of its own.

``GET /health`` until it answers 200, then ``POST /on-trigger`` with each event.
"""

from __future__ import annotations

import math
from typing import Any

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from zope.interface import implementer

from scfd.adapter.process import PluginProcess
from scfd.availability import Availability
from scfd.config import HttpAdapter as Settings
from scfd.errors import PluginError, StartupError, describe
from scfd.exchange import exchange
from scfd.interfaces import IAdapter
from scfd.model import TaskResult, TriggerEvent, TriggerResponse
from scfd.readiness import Readiness
from scfd.wire import from_json

_log = Logger(namespace="scfd.plugin")

#: Seconds between two looks at a plugin that is not ready: quick at first, then doubled.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
#: Bytes of one answer.
LONGEST_ANSWER = 32 << 20
#: Seconds for one look.
HEALTH_TIMEOUT = 5.0


def parse_response(body: bytes) -> tuple[TriggerResponse, str]:
    """
    Read what a plugin answered to an event.

    :returns: the response, and what was odd about the body: empty when nothing was.
    """
    if not body.strip():
        return TriggerResponse(), "the body is empty"
    try:
        value = from_json(body)
    except ValueError as error:
        return TriggerResponse(), f"the body is not JSON: {error}"
    if not isinstance(value, dict):
        return TriggerResponse(), "the body is not a JSON object"
    results = value.get("task_results")
    if results is None:
        return TriggerResponse(), ""
    if not isinstance(results, list):
        return TriggerResponse(), "task_results is not a list"
    return TriggerResponse(tuple(_result(entry) for entry in results)), ""


def _result(entry: Any) -> TaskResult:
    """A result as it came; one that can't be used is told by `TaskResult.is_usable`."""
    if not isinstance(entry, dict):
        return TaskResult("", 0)
    status = entry.get("status")
    if isinstance(status, float) and status.is_integer():
        status = int(status)
    text = entry.get("result")
    return TaskResult(entry.get("task_id", ""), status, text if isinstance(text, str) else "")  # type: ignore[arg-type]


@implementer(IAdapter)
class HttpAdapter(Service):
    """
    :param http: a treq client whose connections to the plugin are kept open.
    :param process: the plugin's process, when the node is to run it; it is started before the first
        look at ``/health`` and stopped last.
    :param readiness: is told while the process is down, and so is ``availability``.
    """

    def __init__(
        self,
        settings: Settings,
        http: HTTPClient,
        process: PluginProcess | None,
        readiness: Readiness,
        availability: Availability,
        clock: Any,
    ) -> None:
        self._settings = settings
        self._http = http
        self._process = process
        self._readiness = readiness
        self._availability = availability
        self._clock = clock
        self._recovery: Deferred[None] = succeed(None)
        self.plugin_name = settings.name

    def startService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the plugin is ready."""
        super().startService()
        if self._process is not None:
            self._process.start(self._process_ended)
        deadline = self._clock.seconds() + self._settings.ready_timeout
        return Deferred.fromCoroutine(self._wait_until_ready(deadline))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._recovery.cancel()
        return self._process.stop() if self._process is not None else succeed(None)

    def _process_ended(self, how: str) -> None:
        """The node's own plugin is down; it is being started again, and ready when it says so."""
        if self._recovery.called:
            self._recovery = Deferred.fromCoroutine(self._wait_until_ready(math.inf))
            self._recovery.addErrback(lambda failure: failure.trap(CancelledError))
        self._availability.set(False)
        self._readiness.problem("plugin", f"its process ended: {how}")

    async def _wait_until_ready(self, deadline: float) -> None:
        pause = FIRST_PAUSE
        while (last := await self._look()) is not None:
            if self._clock.seconds() + pause > deadline:
                end = self._process.end if self._process is not None else ""
                raise StartupError(
                    f"adapter.http: plugin {self.plugin_name!r} at {self._settings.url} is not ready after "
                    f"{self._settings.ready_timeout:g} s; GET /health last got: {last}"
                    + (f"; its process ended: {end}" if end else "")
                )
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._readiness.well("plugin")
        self._availability.set(True)
        _log.info("plugin {name} at {url} is ready", name=self.plugin_name, url=self._settings.url)

    async def _look(self) -> str | None:
        """:returns: None when the plugin is ready, else what it answered."""
        try:
            request = self._http.get(f"{self._settings.url}/health", allow_redirects=False, unbuffered=True)
            looked = Deferred.fromCoroutine(exchange(request, LONGEST_ANSWER))
            status, _ = await looked.addTimeout(HEALTH_TIMEOUT, self._clock)
        except CancelledError:
            raise
        except TimeoutError:
            return f"no answer after {HEALTH_TIMEOUT:g} s"
        except Exception as error:
            return describe(error)
        return None if status == 200 else f"HTTP status {status}"

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        """POST the event: see `IAdapter`."""
        return Deferred.fromCoroutine(self._post(event)).addTimeout(
            event.timeout or self._settings.timeout, self._clock, self._took_too_long
        )

    async def _post(self, event: TriggerEvent) -> TriggerResponse:
        try:
            request = self._http.post(
                f"{self._settings.url}/on-trigger",
                data=event.to_json(),
                headers=Headers({"Content-Type": ["application/json"]}),
                allow_redirects=False,
                unbuffered=True,
            )
            status, body = await exchange(request, LONGEST_ANSWER)
        except CancelledError:
            raise
        except Exception as error:
            raise PluginError(f"POST /on-trigger: {describe(error)}") from error
        if status != 200:
            raise PluginError(
                f"POST /on-trigger: HTTP status {status}: {body[:200].decode('utf-8', 'replace')}"
            )
        parsed, oddity = parse_response(body)
        if oddity:
            _log.warn(
                "{trigger}: no task results from the plugin: {oddity}", trigger=event.name, oddity=oddity
            )
        return parsed

    def _took_too_long(self, _: Any, seconds: float) -> Any:
        raise PluginError(f"POST /on-trigger: no answer after {seconds:g} s") from TimeoutError()

    def heartbeat_extra(self) -> dict[str, Any]:
        """The fields of ``adapter.http.heartbeat_extra``: see `IAdapter`."""
        return dict(self._settings.heartbeat_extra)

    def web_resource(self) -> IResource | None:
        """None: what the gateway does not answer itself is forwarded to the plugin's process."""
        return None
