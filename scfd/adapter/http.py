"""
Speaks to a plugin in a process of its own.

``GET /health`` until it returns 200 and from time to time after that, ``POST /on-trigger`` with each event,
or ``POST /on-task`` and ``POST /on-message`` with each task and message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.adapter.calls import SHOWN, PluginClient, PluginResponse, RequestError
from scfd.adapter.health import Health, Verdict
from scfd.config import HttpAdapterSettings
from scfd.deferreds import in_thread
from scfd.errors import PluginError, PluginUnavailableError, StartupError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.long_json import LONG, without_collections
from scfd.events.response import parse_response, parse_task_response
from scfd.events.trace import ids
from scfd.events.wire import to_json
from scfd.events.work import Message, Task
from scfd.interfaces import ITaskAdapter
from scfd.status.context import Context
from scfd.status.said import Said

if TYPE_CHECKING:
    from twisted.web.resource import IResource

    from scfd.adapter.process import PluginProcess

T = TypeVar("T")

_log = Logger(namespace="scfd.plugin")

#: The response to an event, by example.
_EXPECTED = '{"task_results": [{"task_id": "the task\'s", "status": 2, "result": "a text"}]}'
#: Seconds in which a plugin that was ready and refuses connections may accept them again, before the node
#: starts its process anew: about what three failed checks take.
REFUSED_LIMIT = 2.0
#: What it means that an event could not be sent, by the kind of failure.
_NOT_SENT = {"connect": Verdict.UNREACHABLE, "no resources": Verdict.UNKNOWN}


@implementer(ITaskAdapter)
class HttpAdapter(Service):
    """
    :param process: the plugin's process, when the node is to run it.
    :ivar activity: of the plugin, to be shared with other connections to it.
    """

    #: A native plugin may have some.
    threads = None

    def __init__(
        self,
        settings: HttpAdapterSettings,
        client: PluginClient,
        process: PluginProcess | None,
        context: Context,
    ) -> None:
        self._settings = settings
        self._client = client
        self._process = process
        self.activity = client.activity
        self._readiness = context.readiness
        self._availability = context.availability
        self._metrics = context.metrics
        self._requests_responded = context.metrics.plugin_requests.labels("succeeded")
        self._clock = context.reactor
        self._health = Health(client, settings.health_interval, settings.health_failures, context.reactor)
        self._watch: Deferred[None] = succeed(None)
        self._first_ready: Deferred[None] = Deferred()
        self._said = Said()
        self.plugin_name = settings.name
        self.is_task_plugin = settings.mode == "task"

    def also_busy(self, requests: Callable[[], int]) -> None:
        """
        Excuse missing responses to ``GET /health`` by requests of others as well.

        :param requests: asks how many the plugin is working on.
        """
        self._health.busy_otherwise = requests

    def startService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the plugin is ready."""
        super().startService()
        self._first_ready.addTimeout(self._settings.ready_timeout, self._clock, self._never_ready)
        if self._process is not None:
            self._process.start(self._begin_watch, self._process_ended)
        else:
            self._begin_watch()
        return self._first_ready

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._watch.cancel()
        self._client.close()
        return self._process.stop() if self._process is not None else succeed(None)

    def _never_ready(self, _: Any, seconds: float) -> Any:
        end = self._process.end if self._process is not None else ""
        raise StartupError(
            f"adapter.http: plugin {self.plugin_name!r} at {self._settings.url} is not ready after "
            f"{seconds:g} s; GET /health last got: {self._health.last}" + (f"; {end}" if end else "")
        )

    def _begin_watch(self) -> None:
        self._watch = Deferred.fromCoroutine(self._watch_over())
        self._watch.addErrback(lambda failure: failure.trap(CancelledError))

    async def _watch_over(self) -> None:
        """From its start to the end of its process: wait until it is ready, and see that it stays so."""
        health, patience = self._health, self._settings.ready_timeout
        while True:
            # Before it has been ready once, `ready_timeout` is the limit of the whole start.
            owned = self._process is not None and self._first_ready.called
            if await health.until_ready(patience if owned else math.inf):
                self._up()
                await health.while_ready()
                hopeless = health.verdict is Verdict.SILENT
            else:
                hopeless = True
            if hopeless:
                self._down(f"it has stopped responding: {health.last}")
                if self._process is not None:
                    self._process.restart(f"it has stopped responding: {health.last}")
                    return
            elif health.verdict is Verdict.NOT_READY:
                self._down(f"GET /health: {health.last}")
                patience = self._settings.ready_timeout
            else:
                self._down(f"it can't be reached: {health.last}")
                patience = REFUSED_LIMIT

    def _up(self) -> None:
        self._readiness.well("plugin")
        self._availability.set(True)
        _log.info("plugin {name} at {url} is ready", name=self.plugin_name, url=self._settings.url)
        if not self._first_ready.called:
            self._first_ready.callback(None)

    def _down(self, reason: str, level: LogLevel = LogLevel.error) -> None:
        self._availability.set(False)
        self._readiness.problem("plugin", reason, self._advice())
        _log.emit(level, "the plugin can take no events: {reason}", reason=reason)

    def _advice(self) -> str:
        if self._process is None:
            return f"start it at {self._settings.url} (adapter.http.url), or look at its log there"
        return "look at its output in the node's log; it is started again by itself"

    def restart(self, why: str) -> None:
        """
        Have the plugin's process ended and started again.

        :raises ValueError: it is not the node's.
        """
        if self._process is None:
            raise ValueError("the plugin is not run by the node (adapter.http.command): restart it there")
        self._watch.cancel()
        self._down(why, LogLevel.info)
        from scfd.adapter.process import ASKED_FOR  # not before there is a process: 8 ms

        self._process.restart(why, ASKED_FOR)

    def _process_ended(self, how: str) -> None:
        """The node's own plugin is down; it is being started again."""
        self._watch.cancel()
        if self._process is not None and self._process.cannot_run and not self._first_ready.called:
            # Trying it again would not help: it is the config that has to be mended.
            reason = self._process.cannot_run
            self._process.stop()
            self._first_ready.errback(
                StartupError(
                    f"adapter.http.command: {reason}; expected a program on PATH, or the path of one"
                )
            )
        self._availability.set(False)
        self._readiness.problem("plugin", how, self._advice())

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        """POST the event: see `IAdapter`."""
        body = event.to_json_parts(both=self._settings.event_form == "both")
        posted = self._post("/on-trigger", body, event.timeout or self._settings.timeout, event)
        return posted.addCallback(self._parse, parse_response).addCallback(self._parsed, event)

    def can_handle(self, method: str) -> bool:
        """True: only the plugin knows. See `ITaskAdapter`."""
        return True

    def busy(self) -> None:
        """A server says itself when it has enough: see `ITaskAdapter`."""

    def call_task(self, task: Task, event: TriggerEvent, seconds: float) -> Deferred[TaskResult]:
        """POST a task: see `ITaskAdapter`."""
        body = to_json({"task": task.to_dict(), "event": event.brief()})
        posted = self._post("/on-task", [body], seconds, event)
        return posted.addCallback(self._counted).addCallback(self._parse, parse_task_response, task.task_id)

    def call_message(
        self, message: Message, event: TriggerEvent, seconds: float
    ) -> Deferred[TriggerResponse]:
        """POST a message: see `ITaskAdapter`."""
        body = to_json({"message": message.to_dict(), "event": event.brief()})
        posted = self._post("/on-message", [body], seconds, event)
        return posted.addCallback(self._message_response, event)

    def _post(
        self, path: str, body: Sequence[bytes], seconds: float, event: TriggerEvent
    ) -> Deferred[PluginResponse]:
        self._health.busy += 1
        posted = self._client.post_event(body, seconds, event.traceparent, path)
        return posted.addCallbacks(self._responded, self._not_responded, (path,), errbackArgs=(path,))

    def _responded(self, response: PluginResponse, path: str) -> PluginResponse:
        self._health.busy -= 1
        self._health.event_responded()
        if response.status != 200 and (path == "/on-trigger" or not 200 <= response.status < 300):
            self._metrics.plugin_requests.labels("status").inc()
            shown = "" if response.location else f": {response.body[:SHOWN].decode('utf-8', 'replace')}"
            raise PluginError(f"POST {path}: {response}{shown}")
        return response

    def _parse(self, response: PluginResponse, parse: Callable[..., T], *arguments: Any) -> T | Deferred[T]:
        if len(response.body) < LONG:
            return parse(response.body, *arguments)
        return in_thread(self._clock, without_collections, parse, response.body, *arguments)

    def _counted(self, result: T) -> T:
        self._requests_responded.inc()
        return result

    def _message_response(
        self, response: PluginResponse, event: TriggerEvent
    ) -> TriggerResponse | Deferred[TriggerResponse]:
        if not response.body.strip():
            return self._counted(TriggerResponse())
        return succeed(response).addCallback(self._parse, parse_response).addCallback(self._parsed, event)

    def _parsed(self, response: tuple[TriggerResponse, str], event: TriggerEvent) -> TriggerResponse:
        parsed, oddity = response
        if not oddity:
            return self._counted(parsed)
        self._metrics.plugin_requests.labels("no results").inc()
        if self._said.first((event.name, oddity)):
            _log.warn(
                "{trigger}: no task results from the plugin: {oddity}; expected {expected}",
                trigger=event.name,
                oddity=oddity,
                expected=_EXPECTED,
                **ids(event.traceparent),
            )
        return parsed

    def _not_responded(self, failure: Failure, path: str) -> Failure:
        self._health.busy -= 1
        if failure.check(CancelledError):
            self._metrics.plugin_requests.labels("cancelled").inc()
            return failure
        failure.trap(RequestError)
        error: Any = failure.value
        self._metrics.plugin_requests.labels(error.kind).inc()
        if error.kind == "timeout":
            self._health.event_lost()
        elif error.kind in _NOT_SENT:
            self._health.not_sent(_NOT_SENT[error.kind], str(error))
        else:
            self._health.check_now()
        failed = PluginError if error.sent else PluginUnavailableError
        raise failed(f"POST {path}: {error}") from error

    def heartbeat_extra(self) -> dict[str, Any]:
        """The fields of ``adapter.http.heartbeat_extra``: see `IAdapter`."""
        return dict(self._settings.heartbeat_extra)

    def web_resource(self) -> IResource | None:
        """None: what the gateway does not serve itself is forwarded to the plugin's process."""
        return None
