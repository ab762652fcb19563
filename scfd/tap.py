"""
``twistd scfd``: from the command line to the running tree of services.

Read this first: `makeService` shows the whole node.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, ClassVar, NoReturn

from twisted.logger import Logger
from twisted.python import usage

from scfd import config, reactor
from scfd.errors import EXIT_COULD_NOT_START, EXIT_VERSION_MISMATCH, StartupError

_log = Logger(namespace="scfd.config")


def _give_up(error: StartupError) -> NoReturn:
    print("\n".join(f"scfd: {line}" for line in str(error).splitlines()), file=sys.stderr, flush=True)
    sys.exit(EXIT_COULD_NOT_START)


class Options(usage.Options):
    """The command line. A config with mistakes ends the process here, before anything has started."""

    synopsis = "[--config FILE]"
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "etc/config.yaml", "The config file."],
        ["trpc-config", None, None, "A Go deployment's trpc_go.yaml: gateway address, heartbeat period."],
    ]
    config: config.Config

    def postOptions(self) -> None:
        try:
            reactor.install()
            self.config = config.load(self["config"], os.environ, self["trpc-config"])
        except StartupError as error:
            _give_up(error)
        if self.parent is not None:
            self._adjust(self.parent)

    @staticmethod
    def _adjust(twistd: Any) -> None:
        """Other defaults for twistd's own options: nothing is written unasked, and the log is for people."""
        if twistd["nodaemon"] and twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = ""
        if not (twistd["logger"] or twistd["logfile"] or twistd.get("syslog")):
            twistd["logger"] = "scfd.logs.console"


def makeService(options: Options) -> Any:
    """
    Build the node: collaborators first, then the tree of services. They start from top to bottom,
    each once the one before is up; they drain together, and stop from bottom to top.

    Imports are in here for two reasons: some need the reactor in place, and a node pays at start-up
    only for what its config uses.

    :returns: the root of the tree, an `IService`.
    """
    from twisted.internet import reactor

    from scfd import assembly as make
    from scfd.availability import Availability
    from scfd.dispatch import Dispatcher
    from scfd.lifecycle import Node, ProcessEnd
    from scfd.logs import bridge_stdlib
    from scfd.metrics import Metrics
    from scfd.moox.heartbeat import Heartbeat
    from scfd.moox.outbox import Outbox
    from scfd.moox.probe import ProbeHandler
    from scfd.moox.reports import Reports
    from scfd.readiness import Readiness
    from scfd.statedir import StateDir
    from scfd.summary import Summary
    from scfd.tasks import TaskStore
    from scfd.triggers.ticks import HOUR, MINUTE, SECOND, Tick

    bridge_stdlib()
    cfg = options.config
    for warning in cfg.warnings:
        _log.warn("{warning}", warning=warning)
    metrics = Metrics()
    readiness = Readiness(time.time)
    availability = Availability()
    task_store = TaskStore()
    runtime = make.runtime(cfg, os.environ)
    process = ProcessEnd(reactor)
    node = Node(reactor, runtime, readiness, cfg.shutdown.drain, process.end)
    process.handle_signals(node.hurry)
    # Before the reactor waits for its threads, which is part of the same phase.
    reactor.addSystemEventTrigger("during", "shutdown", process.insist)

    def wrong_version(wanted: str) -> None:
        node.leave_for_version(wanted, EXIT_VERSION_MISMATCH)

    try:
        adapter = make.adapter(cfg, runtime, task_store, readiness, availability, metrics, reactor)
    except StartupError as error:
        _give_up(error)
    client = make.control_plane_client(cfg, reactor)
    outbox = Outbox(cfg.system.state_dir, reactor)
    reports = Reports(outbox, client, runtime, metrics, reactor, cfg.system.outbox_limit)
    dispatcher = Dispatcher(adapter, runtime, task_store, reports, metrics, reactor)
    heartbeat = Heartbeat(
        client,
        runtime,
        task_store,
        adapter,
        cfg.heartbeat.interval,
        metrics,
        readiness,
        reactor,
        wrong_version,
    )
    probe = ProbeHandler(
        runtime,
        task_store,
        adapter,
        heartbeat,
        dispatcher,
        metrics,
        time.time,
        allowed_servers=cfg.heartbeat.allowed_servers,
    )
    timers = make.timers(cfg, dispatcher.dispatch, task_store, metrics, availability)
    summary = Summary(dispatcher, reports, time.time())
    metrics.tasks.set_function(lambda: len(task_store.get_all()))
    metrics.events_running.set_function(lambda: dispatcher.running)
    metrics.reports_pending.set_function(reports.pending)

    services = {
        "state": StateDir(cfg.system.state_dir),
        "control": make.control(cfg, runtime, readiness, metrics, reactor),
        "gateway": make.gateway(cfg, runtime, probe, adapter, metrics, reactor),
        "dev nats": make.dev_nats(cfg, reactor),
        "dev control plane": make.dev_control_plane(cfg, reactor),
        "reports": reports,
        "plugin": adapter,
        "heartbeat": heartbeat,
        "timers": timers,
        **make.nats_triggers(cfg, dispatcher.dispatch, metrics, readiness, availability, reactor),
        "second tick": Tick(SECOND, timers.tick, reactor, time.time),
        "minute tick": Tick(MINUTE, summary.log, reactor, time.time),
        "hour tick": Tick(HOUR, reports.tidy, reactor, time.time),
    }
    for name, service in services.items():
        if service is not None:
            service.setName(name)
            service.setServiceParent(node)
    return node
