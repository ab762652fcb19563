"""How the gateway is made from the config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import evolve

from scfd.config import Config, GatewaySettings
from scfd.control_plane.probe import ProbeHandler
from scfd.gateway.observer import GatewayObserver
from scfd.gateway.routes import EVENT_PATHS, FORWARDED, DetailedRoutes, GatewayRoutes, served_locally
from scfd.gateway.service import Gateway
from scfd.http1.activity import Activity
from scfd.http1.contract import Backend
from scfd.http1.forward import Forwarder
from scfd.http1.front import Front
from scfd.http1.heads import Route
from scfd.http1.pool import CONNECT_TIMEOUT, Connector, Pool, connector
from scfd.http1.turn import Turn
from scfd.interfaces import IAdapter
from scfd.status.context import Context
from scfd.web import Routes

if TYPE_CHECKING:
    from twisted.web.resource import IResource


def make_gateway(
    cfg: Config, settings: GatewaySettings, probe: ProbeHandler, adapter: Any, context: Context
) -> Gateway:
    """
    :param settings: those of ``cfg``.
    :param adapter: of the kind that ``cfg`` asks for.
    """
    settings = evolve(settings, access_log=settings.access_log or cfg.log.access)
    kind = DetailedRoutes if settings.health_details else GatewayRoutes
    routes = kind(context.readiness, probe, settings.probe_token)
    http = cfg.adapter.http
    if http is None:
        backend = native_backend(settings, adapter, context)
        front = gateway_front(settings, routes, backend, context)
    else:
        backend = http_backend(settings, http.url, context, adapter.activity)
        events_at = None if settings.forward_events else urlsplit(http.url).path
        front = gateway_front(settings, routes, backend, context, events_at, http.mode == "task")
        adapter.also_busy(front.busy)
    return Gateway(settings, front, backend, context.reactor)


def gateway_front(
    settings: GatewaySettings,
    routes: Routes,
    backend: Backend,
    context: Context,
    events_at: str | None = None,
    in_tasks: bool = False,
) -> Front:
    """
    What the connections of the gateway have in common.

    :param events_at: the path of the plugin's URL, where no caller may make events.
    :param in_tasks: whether the plugin gets single tasks and messages, which no caller may make either.
    """
    local = served_locally(routes, settings.max_body, events_at, EVENT_PATHS if in_tasks else EVENT_PATHS[:1])
    observer = GatewayObserver(context.metrics, settings.access_log)
    front = Front(settings, backend, local, FORWARDED, observer, context.reactor, context.now, Turn())
    context.metrics.gateway_connections.set_function(lambda: len(front.connections))
    context.metrics.gateway_running.set_function(front.busy)
    return front


def http_backend(settings: GatewaySettings, url: str, context: Context, activity: Activity) -> Backend:
    """What forwards to a plugin's process."""
    pool = _gateway_pool(connector(url), settings, context, activity)
    parts = urlsplit(url)
    route = Route(parts.path.encode(), parts.netloc.encode(), FORWARDED, settings.preserve_host)
    return Forwarder(pool, route, settings.request_buffer, context.metrics.gateway_retries.inc)


def native_backend(settings: GatewaySettings, adapter: IAdapter, context: Context) -> Backend:
    """What forwards to the resource of a native plugin."""
    from scfd.gateway.native import NativeBackend, PluginSite, site_connector  # 40 ms: twisted.web

    def forwarder(resource: IResource) -> Forwarder:
        site = PluginSite(resource, settings.max_body, settings.max_header)
        pool = _gateway_pool(site_connector(site, context.reactor), settings, context)
        route = Route(b"", str(settings.listen).encode(), FORWARDED, preserve_host=True)
        return Forwarder(pool, route, retried=context.metrics.gateway_retries.inc)

    return NativeBackend(adapter, forwarder)


def _gateway_pool(
    connect: Connector, settings: GatewaySettings, context: Context, activity: Activity | None = None
) -> Pool:
    connect_timeout = min(CONNECT_TIMEOUT, settings.forward_timeout)
    pool = Pool(
        connect, settings.pool_size, settings.pool_idle, connect_timeout, context.reactor, Turn(), activity
    )
    context.metrics.gateway_plugin_connections.set_function(lambda: pool.open)
    return pool
