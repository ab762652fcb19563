"""Runs a plugin that lives in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from scfd.availability import Availability
from scfd.config import Config
from scfd.errors import PluginError, StartupError, describe
from scfd.interfaces import (
    IAdapter,
    IDynamicHeartbeatContributor,
    IFramework,
    IHeartbeatContributor,
    IStoppable,
    IWebContributor,
)
from scfd.model import TriggerEvent, TriggerResponse
from scfd.runtime import Runtime
from scfd.tasks import TaskStore

_log = Logger(namespace="scfd.plugin")

#: Seconds that a plugin has to get ready: it may have models to load.
INIT_TIMEOUT = 300.0
#: Seconds: the longest call that the platform knows. A Deferred that never fires ends there.
CALL_TIMEOUT = 900.0


@implementer(IFramework)
@frozen
class Framework:
    """What a native plugin is given of its node."""

    config: Config
    runtime: Runtime
    task_store: TaskStore


@implementer(IAdapter)
class NativeAdapter(Service):
    """
    :param plugin: an `IFunctionPlugin`, which may provide the optional interfaces as well.
    """

    def __init__(
        self, plugin: Any, framework: Framework, availability: Availability, clock: IReactorTime
    ) -> None:
        self._plugin = plugin
        self._framework = framework
        self._availability = availability
        self._clock = clock
        self._static_extra: Mapping[str, Any] = {}
        self._resource: IResource | None = None
        self._ready = False
        self.plugin_name = plugin.name

    def startService(self) -> Deferred[None]:
        super().startService()
        return Deferred.fromCoroutine(self._initialise())

    async def _initialise(self) -> None:
        try:
            ready = maybeDeferred(self._plugin.init, self._framework)
            await ready.addTimeout(INIT_TIMEOUT, self._clock, self._not_ready)
            if IWebContributor.providedBy(self._plugin):
                self._resource = self._plugin.resource()
        except StartupError as error:
            # The plugin's own word about a mistake of its user, such as a setting that is missing.
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

    def _not_ready(self, _: Any, seconds: float) -> Any:
        raise StartupError(f"its init() has not ended after {seconds:g} s")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._ready and IStoppable.providedBy(self._plugin):
            return maybeDeferred(self._plugin.stop)
        return succeed(None)

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        """Call the plugin: see `IAdapter`."""
        call = maybeDeferred(self._plugin.on_trigger, event).addErrback(_contained)
        limit = event.timeout or CALL_TIMEOUT
        return call.addTimeout(limit, self._clock, _took_too_long).addCallback(_checked)

    def heartbeat_extra(self) -> dict[str, Any]:
        """The plugin's fields: see `IAdapter`. Those it asks for once, then those it makes anew."""
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


def _contained(failure: Failure) -> Failure:
    """
    asyncio's CancelledError, SystemExit and their like would pass every ``except Exception`` on
    their way, and end what is not theirs to end.
    """
    if failure.check(Exception):
        return failure
    raise PluginError(f"on_trigger raised {describe(cast(BaseException, failure.value))}")


def _took_too_long(_: Any, seconds: float) -> Any:
    raise PluginError(f"no answer after {seconds:g} s") from TimeoutError()


def _checked(response: object) -> TriggerResponse:
    if response is None:
        return TriggerResponse()
    if not isinstance(response, TriggerResponse):
        raise PluginError(
            f"on_trigger returned {type(response).__name__}; it should be a TriggerResponse or None"
        )
    return response
