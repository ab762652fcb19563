"""How the parts of a node are made from its config; `scfd.node.make_node` puts them together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.logger import Logger

from scfd.config import Config, HttpAdapterSettings, NatsSettings, TimerSettings
from scfd.config.dead_ends import task_keys
from scfd.control_plane.client import ControlPlaneClient
from scfd.control_plane.http import LazyClient
from scfd.control_plane.learning import LearningClient
from scfd.control_plane.probe import ProbeHandler
from scfd.control_plane.signing import Signer
from scfd.errors import StartupError
from scfd.events.event import TriggerEvent
from scfd.events.tasks import TaskStore
from scfd.identity import Identity, ServerAddress
from scfd.interfaces import IAdapter, IBlockingPlugin
from scfd.listen import Listener
from scfd.reactor import ExceptionHandler
from scfd.reports.outbox import Outbox
from scfd.reports.state_dir import Folder
from scfd.status.context import Context
from scfd.status.history import History
from scfd.triggers.timer.cron import next_fires, next_in_go
from scfd.triggers.timer.trigger import Timers
from scfd.triggers.timer.zone import process_zone

if TYPE_CHECKING:
    from scfd.admin.parts import Parts
    from scfd.triggers.nats.access import Access
    from scfd.triggers.nats.connection import Connection

Dispatch = Callable[[TriggerEvent], "Deferred[None]"]

_log = Logger(namespace="scfd.config")

#: Seconds that an idle connection to a plugin is kept, whose events can't be sent twice: gunicorn closes its
#: own after 2 s.
_PLUGIN_IDLE = 1.5
#: Seconds after the last connection that could not be accepted: asyncio tries again each second.
_REFUSED_RECENTLY = 3.0
#: Seconds that a native plugin has for a task, where nothing else is set.
_TASK_TIMEOUT = 30.0


def context(cfg: Config, reactor: Any) -> Context:
    """What the services share, with the history that the config wants."""
    made, settings = Context(reactor), cfg.admin
    if settings is None:  # nobody could ask for it
        return evolve(made, history=History(made.now, made.readiness, most=0))
    history = History(made.now, made.readiness, settings.history, settings.failing_after)
    return evolve(made, history=history)


def http_client(reactor: Any) -> LazyClient:
    """A client with a connection pool of its own."""
    return LazyClient(reactor)


def signer(cfg: Config, now: Callable[[], float]) -> Signer | None:
    """What signs requests to the control plane, where the config has keys."""
    auth = cfg.heartbeat.auth
    return Signer(auth.access_key, auth.secret_key, now) if auth is not None else None


#: What OpenTelemetry's exporters go by.
OTEL_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Outside:
    """
    What a node reaches beyond its own code: plugin, network and disk. `scfd.testing` has one in memory.

    :param environ: the environment variables.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def plugin(self, cfg: Config) -> Any:
        """
        :returns: the native plugin that the config means.
        :raises scfd.errors.StartupError: there is none, or it can't be used.
        """
        from scfd.adapter.registry import add_plugin_folders, find_plugin

        add_plugin_folders(cfg.adapter.path)
        return find_plugin(cfg.adapter.native, cfg.system.name)

    def http_client(self, reactor: Any) -> Any:
        """What makes requests to the control plane, as a treq client does."""
        return http_client(reactor)

    def outbox(self, folder: Folder, reactor: Any) -> Outbox:
        """Where task results are until they are delivered."""
        return Outbox(folder, reactor)

    def nats_connection(self, access: Access, name: str) -> Connection:
        """:param name: by which servers list this node."""
        from scfd.triggers.nats.connection import Connection

        return Connection(access, name)

    def nats_clock(self, reactor: Any) -> Any:
        """:returns: the `IReactorTime` of the NATS triggers."""
        return reactor


def control_plane_client(cfg: Config, context: Context, outside: Outside) -> LearningClient:
    """The client of the control plane that heartbeat and reports share."""
    reactor, heartbeat, signs = context.reactor, cfg.heartbeat, signer(cfg, context.now)
    client = ControlPlaneClient(outside.http_client(reactor), reactor, signs)
    return LearningClient(client, reactor, heartbeat.protocol, heartbeat.api_prefix, signed=signs is not None)


def identity(cfg: Config, environ: Mapping[str, str]) -> Identity:
    """Who the node is before any probe."""
    heart = cfg.heartbeat
    made = Identity(
        cfg.system.node_id,
        cfg.system.version,
        ServerAddress(heart.server_ip, heart.server_port, heart.server_url),
        cfg.system.storage_url,
    )
    made.read_identity(environ)
    return made


def adapter(
    cfg: Config, identity: Identity, task_store: TaskStore, context: Context, outside: Outside
) -> Any:
    """
    :returns: an `IAdapter`.
    :raises scfd.errors.StartupError: when no native plugin fits the config.
    """
    if cfg.adapter.http is not None:
        return _http_adapter(cfg.adapter.http, cfg.origin.secret_variables, context)
    from scfd.adapter.native import NativeAdapter
    from scfd.adapter.threads import PluginThreads
    from scfd.function import Framework

    plugin = outside.plugin(cfg)
    threads = None
    if IBlockingPlugin.providedBy(plugin):
        threads = PluginThreads(cfg.adapter.threads, context)
        context.metrics.plugin_threads_stuck.set_function(lambda: threads.stuck)
    return NativeAdapter(
        plugin, Framework(cfg, identity, task_store, context.reactor, context.now), threads, context
    )


def spans(cfg: Config, identity: Identity, context: Context, outside: Outside) -> Any:
    """
    :returns: a `scfd.spans.Spans`, or None. The environment says whether there is one, by the variables that
        OpenTelemetry has for it.
    """
    environ = outside.environ
    wanted = [name for name in OTEL_ENDPOINTS if environ.get(name)]
    if not wanted or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from scfd.spans import Spans
    except ImportError as error:
        text = "{variable} is set, and {module} is not installed: no spans are exported; expected scfd[otel]"
        _log.warn(text, variable=wanted[0], module=error.name)
        return None
    made = Spans(identity, cfg.system.name, context.reactor, context.now)
    context.history.watch(made.event)
    return made


def task_runner(cfg: Config, adapter: Any, context: Context) -> Any:
    """
    :param adapter: an `ITaskAdapter`.
    :returns: a `scfd.adapter.tasks.TaskRunner` for a task plugin, else None.
    :raises scfd.errors.StartupError: there is a trigger whose events the plugin has no method for.
    """
    if not adapter.is_task_plugin:
        if cfg.adapter.http is None and (useless := task_keys(cfg)):
            _log.warn(
                "{keys}: no effect, since plugin {name} is no ITaskPlugin",
                keys=", ".join(useless),
                name=adapter.plugin_name,
            )
        return None
    from scfd.adapter.tasks import TaskLimits, TaskRunner

    whole = cfg.adapter
    shared = _slots("adapter.task_concurrency", whole.task_concurrency, adapter)
    default = _TASK_TIMEOUT if whole.http is None else whole.http.timeout
    limits = {}
    for index, trigger in enumerate(cfg.triggers):
        own = getattr(trigger, "task_concurrency", None)
        limits[trigger.name] = TaskLimits(
            trigger.task_timeout or whole.task_timeout or trigger.timeout or default,
            whole.task_retries if trigger.task_retries is None else trigger.task_retries,
            shared if own is None else _slots(f"triggers[{index}].settings.task_concurrency", own, adapter),
        )
        needed = "on_task(task, event)" if trigger.type == "timer" else "on_message(message, event)"
        if not adapter.can_handle(needed.partition("(")[0]):
            raise StartupError(
                f"triggers[{index}]: {trigger.name} is a {trigger.type} trigger, and plugin "
                f"{adapter.plugin_name!r} has no {needed}; expected it there, or no such trigger"
            )
    return TaskRunner(adapter, limits, context)


def _slots(key: str, count: int, adapter: Any) -> DeferredSemaphore:
    """So many tasks at once, but no more than the plugin has threads, if it has any."""
    threads = adapter.threads.size if adapter.threads is not None else count
    if count > threads:
        text = "{key}: {count} tasks are to run at once, and adapter.threads is {threads}, which is the limit"
        _log.warn(text, key=key, count=count, threads=threads)
    return DeferredSemaphore(min(count, threads))


def report_refused_connections(exceptions: ExceptionHandler, context: Context) -> None:
    """Count connections that can't be accepted, and show in ``GET /ready`` that there are some."""
    metrics, readiness = context.metrics, context.readiness
    over: list[IDelayedCall] = []

    def refused(reason: str) -> None:
        metrics.connections_not_accepted.inc()
        if over and over[0].active():
            over[0].reset(_REFUSED_RECENTLY)
            return
        advice = "raise the limit of open files (ulimit -n), or lower gateway.max_connections"
        readiness.problem("connections", f"new ones can't be accepted: {reason}", advice)
        over[:] = [context.reactor.callLater(_REFUSED_RECENTLY, readiness.well, "connections")]

    exceptions.refused = refused


def watchdog(cfg: Config, adapter: IAdapter, context: Context) -> IService | None:
    """What says where a native plugin blocks the reactor; a plugin in another process can't."""
    if cfg.adapter.http is not None:
        return None
    from scfd.adapter.watchdog import Watchdog

    return Watchdog(adapter.plugin_name, context)


def _http_adapter(settings: HttpAdapterSettings, secrets: frozenset[str], context: Context) -> Any:
    from scfd.adapter.calls import PluginClient
    from scfd.adapter.environment import of_plugin
    from scfd.adapter.http import HttpAdapter
    from scfd.http1.pool import CONNECT_TIMEOUT, Pool, connector
    from scfd.http1.turn import Turn

    reactor, connect, turn = context.reactor, connector(settings.url), Turn()
    pool = Pool(connect, settings.max_connections, _PLUGIN_IDLE, CONNECT_TIMEOUT, reactor, turn)
    health_pool = Pool(connect, 1, 0, CONNECT_TIMEOUT, reactor, turn, pool.activity)
    client = PluginClient(settings.url, pool, health_pool, settings.max_response, reactor)
    process = None
    if settings.command:
        from scfd.adapter.process import PluginProcess

        env = of_plugin(settings, secrets, os.environ)
        process = PluginProcess(settings.command, env, settings.cwd, client.is_listening, context)
    return HttpAdapter(settings, client, process, context)


def timers(
    cfg: Config, dispatch: Dispatch, task_store: TaskStore, context: Context, outside: Outside
) -> Timers:
    """All timer triggers; expressions are read in the process's own zone."""
    triggers = [trigger for trigger in cfg.triggers if isinstance(trigger, TimerSettings)]
    zone = process_zone(outside.environ)
    for trigger in triggers:
        if trigger.has_six_fields:
            _warn_of_six_fields(trigger, datetime.fromtimestamp(context.now(), trigger.timezone or zone))
    return Timers(triggers, dispatch, task_store, zone, context)


def _warn_of_six_fields(trigger: TimerSettings, now: datetime) -> None:
    """The config's own warning has both readings; here is what each comes to."""
    _log.warn(
        "{trigger}: six fields, {cron!r}: the next fires are {here}; the Go framework's would be {there}",
        trigger=trigger.name,
        cron=trigger.cron.expression,
        here=", ".join(next_fires(trigger.cron, now)),
        there=", ".join(next_in_go(trigger.cron.expression, now)),
    )


def nats_triggers(cfg: Config, dispatch: Dispatch, context: Context, outside: Outside) -> dict[str, IService]:
    """The NATS triggers and, before them, their connections, by the names of these services."""
    triggers = [trigger for trigger in cfg.triggers if isinstance(trigger, NatsSettings)]
    if not triggers:
        return {}
    # 150 ms and 11 MiB that a node without NATS saves.
    from scfd.triggers.nats.access import Access
    from scfd.triggers.nats.acks import Acks
    from scfd.triggers.nats.consumer import Consumer
    from scfd.triggers.nats.dead_letter import DeadLetters, Letters
    from scfd.triggers.nats.deliveries import Deliveries
    from scfd.triggers.nats.given_up import Advisories, GivenUp
    from scfd.triggers.nats.trigger import NatsTrigger

    metrics, reactor = context.metrics, outside.nats_clock(context.reactor)
    context = evolve(context, reactor=reactor)
    name = f"scfd {cfg.system.node_id or cfg.system.name}".strip()
    connections = {access: outside.nats_connection(access, name) for access in map(Access.of, triggers)}
    services: dict[str, IService] = {
        f"nats connection {number}": connection
        for number, connection in enumerate(connections.values(), start=1)
    }
    for one in triggers:
        connection = connections[Access.of(one)]
        dead_letters = DeadLetters(one, connection, context.readiness, reactor) if one.dead_letter else None
        consumer = Consumer(connection, one, metrics)
        acks = Acks(one, consumer.terms, connection, dead_letters, metrics, reactor)
        deliveries = Deliveries(one, dispatch, acks, metrics, reactor)
        given_up = GivenUp(one, connection, deliveries, dead_letters, context)
        services[f"nats advisories {one.name}"] = Advisories(one, connection, given_up, reactor)
        letters = Letters(one, connection) if one.dead_letter else None
        services[f"nats trigger {one.name}"] = NatsTrigger(
            one, connection, consumer, deliveries, context, letters
        )
    return services


def admin(parts: Parts) -> IService | None:
    """The endpoint for operators, unless it is turned off."""
    cfg, context = parts.cfg, parts.context
    if cfg.admin is None:
        return None
    settings = cfg.admin

    def site() -> IProtocolFactory:
        from scfd.admin.routes import make_site

        return make_site(parts, settings)

    return Listener("admin.listen", settings.listen, "scfd.admin.routes", site, context.reactor)


def gateway(cfg: Config, probe: ProbeHandler, adapter: IAdapter, context: Context) -> IService | None:
    """The front door, where the config has one."""
    if cfg.gateway is None:
        return None
    from scfd.gateway.make import make_gateway

    return make_gateway(cfg, cfg.gateway, probe, adapter, context)


def dev_nats(cfg: Config, reactor: Any) -> IService | None:
    """The embedded NATS server, where the config asks for one."""
    if cfg.dev.nats is None:
        return None
    from scfd.dev.nats_server import NatsServer

    return NatsServer(cfg.dev.nats, cfg.system.state_dir, reactor)


def dev_control_plane(cfg: Config, reactor: Any) -> IService | None:
    """The embedded control plane, where the config asks for one."""
    if cfg.dev.control_plane is None:
        return None
    from scfd.control_plane.agent import agent
    from scfd.dev.control_plane import ControlPlane

    node_url = cfg.gateway.listen.url if cfg.gateway is not None else None
    token = "" if cfg.gateway is None else cfg.gateway.probe_token
    keys, node_page = signer(cfg, time.time), cfg.admin.listen.url if cfg.admin is not None else ""
    return ControlPlane(
        cfg.dev.control_plane, node_url, reactor, agent(reactor), token, keys=keys, node_page=node_page
    )
