"""Runs a plugin that lives in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from scfd.adapter.threads import PluginThreads
from scfd.deferreds import TimeLimits, detached, from_coroutine
from scfd.errors import PluginError, StartupError, describe
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse, current_event
from scfd.events.response import message_response, task_result
from scfd.events.work import Message, Task
from scfd.function import Framework
from scfd.interfaces import (
    IDynamicHeartbeatContributor,
    IHeartbeatContributor,
    IStoppable,
    ITaskAdapter,
    ITaskPlugin,
    IWebContributor,
)
from scfd.status.context import Context

_log = Logger(namespace="scfd.plugin")

#: Seconds that a plugin has to get ready: it may have models to load.
INIT_TIMEOUT = 300.0
#: Seconds between two log lines that it is not ready yet.
INIT_REMINDER = 10.0
#: Seconds: the longest call that the platform knows. A Deferred that never fires ends there.
CALL_TIMEOUT = 900.0

_NO_RESULTS = TriggerResponse()


@implementer(ITaskAdapter)
class NativeAdapter(Service):
    """
    :param plugin: an `ITaskPlugin` or `IFunctionPlugin`, which may provide the optional interfaces as well.
    :param threads: for an `IBlockingPlugin`, else None.
    """

    def __init__(
        self, plugin: Any, framework: Framework, threads: PluginThreads | None, context: Context
    ) -> None:
        self._plugin = plugin
        self._framework = framework
        self.threads = threads
        self._availability = context.availability
        self._readiness = context.readiness
        self._clock = context.reactor
        self._time_limits = TimeLimits(context.reactor)
        self._static_extra: Mapping[str, Any] = {}
        self._resource: IResource | None = None
        self._ready = False
        self.plugin_name = plugin.name
        self.is_task_plugin = ITaskPlugin.providedBy(plugin)

    def startService(self) -> Deferred[None]:
        super().startService()
        return Deferred.fromCoroutine(self._initialise())

    async def _initialise(self) -> None:
        try:
            self._reminder = self._clock.callLater(INIT_REMINDER, self._remind, INIT_REMINDER)
            try:
                ready = detached(self._run(self._plugin.init, self._framework))
                await ready.addTimeout(INIT_TIMEOUT, self._clock, self._not_ready)
            finally:
                self._reminder.cancel()
                self._readiness.well("plugin")
            if IWebContributor.providedBy(self._plugin):
                self._resource = self._plugin.resource()
        except StartupError as error:
            # The plugin names a mistake of its user, such as a setting that is missing.
            raise StartupError(f"plugin {self.plugin_name!r}: {error}") from error
        except CancelledError:
            raise  # the node is asked to stop
        except Exception as error:
            _log.failure("plugin {name} could not be initialised", name=self.plugin_name)
            raise StartupError(
                f"plugin {self.plugin_name!r} could not be initialised: {describe(error)}"
            ) from error
        if IHeartbeatContributor.providedBy(self._plugin):
            self._static_extra = self._ask(self._plugin.heartbeat_extra)
        self._ready = True
        self._availability.set(True)
        _log.info("native plugin {name} is ready", name=self.plugin_name)

    def _remind(self, seconds: float) -> None:
        waits = f"its init() has not ended after {seconds:g} s"
        self._readiness.problem("plugin", waits, "look what its init() waits for")
        _log.warn(
            "plugin {name}: {waits}; the node waits for it, {limit:g} s at most",
            name=self.plugin_name,
            waits=waits,
            limit=INIT_TIMEOUT,
        )
        self._reminder = self._clock.callLater(INIT_REMINDER, self._remind, seconds + INIT_REMINDER)

    def _not_ready(self, _: Any, seconds: float) -> Any:
        raise StartupError(f"its init() has not ended after {seconds:g} s")

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Call a function in a thread when the plugin blocks, else here."""
        if self.threads is not None:
            return self.threads.run(function, *arguments)
        try:
            value = function(*arguments)
        except BaseException:
            return fail()
        return _deferred(value)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        stopped: Deferred[None] = succeed(None)
        if self._ready and IStoppable.providedBy(self._plugin):
            stopped = self._stop_plugin()
        return stopped if self.threads is None else stopped.addBoth(_and_then, self.threads.stop)

    def _stop_plugin(self) -> Deferred[None]:
        if self.threads is not None and self.threads.all_stuck:
            _log.warn("the plugin's stop() is left out: all its threads are stuck")
            return succeed(None)
        return self._run(self._plugin.stop)

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        """Call the plugin: see `IAdapter`."""
        called = self._call("on_trigger", event.timeout or CALL_TIMEOUT, event)
        result = called.result if called.called else called
        # A callback would take longer than all that is done here.
        if result is None:
            return succeed(_NO_RESULTS)
        if isinstance(result, TriggerResponse):
            return called
        return called.addCallback(_checked)

    def can_handle(self, method: str) -> bool:
        """Whether the plugin has a method: see `ITaskAdapter`."""
        return getattr(self._plugin, method, None) is not None

    def busy(self) -> Deferred[None] | None:
        """Whether all threads have a call already: see `ITaskAdapter`."""
        return None if self.threads is None else self.threads.busy()

    def call_task(self, task: Task, event: TriggerEvent, seconds: float) -> Deferred[TaskResult]:
        """Call ``on_task``: see `ITaskAdapter`."""
        return self._call("on_task", seconds, task, event).addCallback(task_result, task.task_id)

    def call_message(
        self, message: Message, event: TriggerEvent, seconds: float
    ) -> Deferred[TriggerResponse]:
        """Call ``on_message``: see `ITaskAdapter`."""
        return self._call("on_message", seconds, message, event).addCallback(message_response)

    def _call(self, name: str, seconds: float, *arguments: Any) -> Deferred[Any]:
        """Call a method of the plugin; what it fails with is an `Exception` always."""
        method = getattr(self._plugin, name)
        if self.threads is None:
            # Its coroutines take a copy of the context, so that their log lines name the event, too.
            before = current_event.set(arguments[-1])
            try:
                value = method(*arguments)
                waits = value is not None and isinstance(value, (Deferred, Awaitable))
                called = _deferred(value) if waits else succeed(value)
            except BaseException:
                called, waits = fail(), True
            finally:
                current_event.reset(before)
            if not waits:
                return called  # no time limit either
        else:
            called = self.threads.run(_about, arguments[-1], method, *arguments)
        return self._limit(detached(called.addErrback(_contained, name)), seconds)

    def _limit(self, called: Deferred[Any], seconds: float) -> Deferred[Any]:
        """Fail a call that takes longer. As ``addTimeout``, at a tenth of its cost."""
        given_up = False

        def give_up() -> None:
            nonlocal given_up
            given_up = True
            called.cancel()

        def ended(result: Any) -> Any:
            self._time_limits.stop(give_up)
            if given_up and isinstance(result, Failure) and result.check(CancelledError):
                raise PluginError(f"no response after {seconds:g} s") from TimeoutError()
            return result

        self._time_limits.start(seconds, give_up)
        return called.addBoth(ended)

    def heartbeat_extra(self) -> dict[str, Any]:
        """The plugin's fields: see `IAdapter`. Those of each heartbeat win over constant ones."""
        extra = dict(self._static_extra)
        if IDynamicHeartbeatContributor.providedBy(self._plugin):
            extra.update(self._ask(self._plugin.heartbeat_extra_func))
        return extra

    def _ask(self, contribute: Callable[[], Any]) -> Mapping[str, Any]:
        try:
            return dict(contribute())
        except Exception:
            _log.failure("the plugin's fields are missing from the heartbeat")
            return {}

    def web_resource(self) -> IResource | None:
        """What the plugin serves behind the gateway, if anything."""
        return self._resource


def _about(event: TriggerEvent, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a thread of the plugin's, whose log lines then name the event."""
    before = current_event.set(event)
    try:
        return function(*arguments)
    finally:
        current_event.reset(before)


def _deferred(value: Any) -> Deferred[Any]:
    """What a plugin has returned, as a Deferred."""
    if isinstance(value, Coroutine):
        return from_coroutine(value)
    if isinstance(value, Awaitable) and not isinstance(value, Deferred):
        return from_coroutine(_awaited(value))
    return maybeDeferred(lambda: value)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _contained(failure: Failure, name: str) -> Failure:
    """
    Make an `Exception` of asyncio's CancelledError, SystemExit and the like, which no ``except Exception``
    would catch, so that they would end other services.
    """
    if failure.check(Exception):
        return failure
    raise PluginError(f"{name} raised {describe(cast(BaseException, failure.value))}")


def _and_then(result: Any, function: Callable[[], object]) -> Any:
    function()
    return result


def _checked(response: object) -> TriggerResponse:
    if response is None:
        return _NO_RESULTS
    if not isinstance(response, TriggerResponse):
        raise PluginError(
            f"on_trigger returned {type(response).__name__}; it should be a TriggerResponse or None, "
            "such as TriggerResponse([TaskResult(task_id, TaskStatus.SUCCESS, 'a text')])"
        )
    return response
