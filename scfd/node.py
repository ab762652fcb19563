"""The whole node: its collaborators, and the tree of its services. Read this first."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from scfd import build, logs
from scfd.admin.parts import Parts
from scfd.admin.summary import Summary
from scfd.config import Config, DevSettings, default_state_dir
from scfd.control_plane.heartbeat import Heartbeat, VersionLog
from scfd.control_plane.probe import ProbeHandler
from scfd.dispatch import ByHand, Dispatcher
from scfd.errors import EXIT_VERSION_MISMATCH
from scfd.events.tasks import TaskStore
from scfd.identity import Identity
from scfd.interfaces import ITrigger
from scfd.lifecycle import Node, ProcessEnd
from scfd.reactor import exceptions
from scfd.reports.delivery import ReportLimits, Reports
from scfd.reports.state_dir import Folder, StateDir
from scfd.sd_notify import ServiceManager
from scfd.status.context import Context
from scfd.triggers.timer.ticks import HOUR, MINUTE, SECOND, Tick

_log = Logger(namespace="scfd.config")


def make_node(cfg: Config, reactor: Any) -> Node:
    """
    A node that has this process for itself.

    :raises scfd.errors.StartupError: when no plugin fits the config.
    """
    logs.bridge_stdlib()
    cfg = with_state_dir(cfg)
    context, identity = build.context(cfg, reactor), build.identity(cfg, os.environ)
    build.report_refused_connections(exceptions, context)
    context.readiness.on_phase(ServiceManager(os.environ, reactor).entered)
    process = ProcessEnd(reactor)
    node = Node(context, identity, cfg.shutdown.drain, process.end)
    process.handle_signals(node.hurry)
    reactor.addSystemEventTrigger("during", "shutdown", logs.finish)
    # Before the reactor waits for its threads, which is part of the same phase.
    reactor.addSystemEventTrigger("during", "shutdown", process.insist)
    add_services(node, cfg, identity, context, build.Outside(os.environ))
    plugin: str = node.getServiceNamed("plugin").plugin_name
    logs.about[0] = lambda: {"node": identity.node_id, "version": identity.version, "plugin": plugin}
    node.add({"log tick": Tick(SECOND, logs.watch(context.metrics, context.readiness), reactor, context.now)})
    return node


def with_state_dir(cfg: Config) -> Config:
    """The config with a state folder, by the platform where it names none."""
    if cfg.system.state_dir:
        return cfg
    return evolve(cfg, system=evolve(cfg.system, state_dir=default_state_dir(os.environ)))


def without_dev(cfg: Config) -> Config:
    """The config of a node whose control plane and NATS server for development run elsewhere."""
    dev, heartbeat = cfg.dev.control_plane, cfg.heartbeat
    if dev is not None and not (heartbeat.server_url or heartbeat.server_ip):
        # The next probe would bring it, up to 5 s later.
        heartbeat = evolve(heartbeat, server_url=dev.listen.url)
    return evolve(cfg, dev=DevSettings(), heartbeat=heartbeat)


def add_services(
    node: Node, cfg: Config, identity: Identity, context: Context, outside: build.Outside
) -> Parts:
    """
    Collaborators first, then the tree of services. They start from top to bottom, each once the one
    before is up; they drain together, and stop from bottom to top.

    :returns: what operators work on.
    :raises scfd.errors.StartupError: when no plugin fits the config.
    """
    for warning in cfg.warnings:
        _log.warn("{text}", text=warning)  # Twisted has its own use for a field `warning`
    reactor, metrics, tasks = context.reactor, context.metrics, TaskStore()
    adapter = build.adapter(cfg, identity, tasks, context, outside)
    client = build.control_plane_client(cfg, context, outside)
    folder = Folder(cfg.system.state_dir)
    outbox = outside.outbox(folder, reactor)
    system = cfg.system
    limits = ReportLimits(system.outbox_limit, system.report_tries, system.report_patience)
    reports = Reports(outbox, client, identity, context, limits)
    task_runner = build.task_runner(cfg, adapter, context)
    dispatcher = Dispatcher(task_runner or adapter, identity, tasks, reports, context)
    spans = dispatcher.spans = reports.spans = build.spans(cfg, identity, context, outside)
    if task_runner is not None:
        task_runner.report = dispatcher.report_early

    def wrong_version(wanted: str) -> None:
        node.leave_for_version(wanted, EXIT_VERSION_MISMATCH)

    exits = cfg.heartbeat.on_version_mismatch == "exit"
    on_wrong_version = wrong_version if exits else VersionLog(cfg.system.version)

    interval, servers = cfg.heartbeat.interval, cfg.heartbeat.allowed_servers
    heartbeat = Heartbeat(client, identity, tasks, adapter, interval, context, on_wrong_version)
    probe = ProbeHandler(identity, tasks, adapter, heartbeat, dispatcher, context, allowed_servers=servers)
    timers = build.timers(cfg, dispatcher.dispatch, tasks, context, outside)
    nats = build.nats_triggers(cfg, dispatcher.dispatch, context, outside)
    triggers = (timers, *(service for service in nats.values() if ITrigger.providedBy(service)))
    by_hand = ByHand(dispatcher)
    parts = Parts(
        cfg, identity, context, adapter, dispatcher, by_hand, tasks, client, reports, triggers, node.leave
    )
    summary = Summary(dispatcher, reports, context.now())
    metrics.tasks.set_function(lambda: len(tasks.get_all()))
    metrics.events_running.set_function(lambda: dispatcher.running)
    metrics.reports_pending.set_function(reports.pending)
    metrics.control_plane_generation.set_function(lambda: client.generation(identity.server.base_url))
    metrics.reports_put_aside.set_function(reports.put_aside)
    readiness = context.readiness
    metrics.ready.set_function(lambda: not readiness.problems())
    for severity in ("problem", "warning"):
        metrics.problems.labels(severity).set_function(partial(readiness.count, severity))

    services = {
        "spans": spans,
        "state": StateDir(folder, reactor),
        "admin": build.admin(parts),
        "gateway": build.gateway(cfg, probe, adapter, context),
        "dev nats": build.dev_nats(cfg, reactor),
        "dev control plane": build.dev_control_plane(cfg, reactor),
        "reports": reports,
        "watchdog": build.watchdog(cfg, adapter, context),
        "plugin": adapter,
        "tasks": task_runner,
        "events by hand": by_hand,
        "heartbeat": heartbeat,
        "timers": timers,
        **nats,
        # At once: a second may have begun since the timers were made.
        "second tick": Tick(SECOND, timers.tick, reactor, context.now, at_once=True),
        "minute tick": Tick(MINUTE, summary.log, reactor, context.now),
        "outbox tick": Tick(SECOND, reports.look, reactor, context.now),
        "hour tick": Tick(HOUR, reports.tidy, reactor, context.now),
    }
    node.add(services)
    return parts
