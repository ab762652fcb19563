"""
Real nats-servers with JetStream that can be killed, frozen and started again, alone or as a cluster.

Each runs under a guard (`scfd.adapter.guard`), so none outlives the tests, however these end.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from scfd.adapter.guard import guarded
from scfd.dev.nats_server import ServerProcess, find_nats_server
from tests.integration.daemon import children, free_ports, reactor

#: Seconds; a server is ready in 0.1 to 0.3.
PATIENCE = 20.0


class Server:
    """
    One nats-server. Each start has the port, the name and the files of the one before.

    :param store: the folder of its streams.
    :param options: more of them for its command line, such as those that make it one of a cluster.
    :param port: a free one by default.
    """

    def __init__(self, store: Path, *options: str, name: str = "alone", port: int | None = None) -> None:
        port = port or free_ports(1)[0]
        self.name = name
        self.url = f"nats://127.0.0.1:{port}"
        command = [find_nats_server(), "-a", "127.0.0.1", "-p", str(port), "-n", name]
        self._argv = guarded([*command, "-js", "-sd", str(store), *options])
        self._process: ServerProcess | None = None

    def start(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the server takes connections."""
        process = self._process = ServerProcess(reactor)
        reactor.spawnProcess(process, self._argv[0], self._argv, env=None, childFDs={0: "w", 1: "r", 2: "r"})
        return process.ready.addTimeout(PATIENCE, reactor)

    def send(self, number: int) -> None:
        """Send a signal, such as SIGSTOP, to the server itself, which is the child of its guard."""
        assert self._process is not None, "not started"
        guard: Any = self._process.transport
        [pid] = children(guard.pid)
        os.kill(pid, number)

    def kill(self) -> Deferred[None]:
        """SIGKILL. :returns: a Deferred that fires when the server is gone."""
        self.send(signal.SIGKILL)
        return self.ended()

    def ended(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the server is gone."""
        assert self._process is not None, "not started"
        return self._process.when_ended()

    def clean_up(self) -> Deferred[None] | None:
        """Leave nothing behind, whatever became of the test; also of one that is frozen."""
        if self._process is None:
            return None
        ended = self.ended()
        if not ended.called:
            self._process.transport.closeStdin()  # the guard kills it then
        return ended


class Cluster:
    """
    Three servers that know each other.

    :ivar servers: by name.
    :ivar url: all of them, as clients name several.
    """

    def __init__(self, folder: Path) -> None:
        ports = free_ports(6)
        routes = [f"nats://127.0.0.1:{port}" for port in ports[3:]]
        self.servers: dict[str, Server] = {}
        for name, port, route in zip(("s1", "s2", "s3"), ports[:3], routes, strict=True):
            options = ("--cluster_name", "c", "--cluster", route, "--routes", ",".join(routes))
            self.servers[name] = Server(folder / name, *options, name=name, port=port)
        self.url = ",".join(server.url for server in self.servers.values())

    def start(self) -> Deferred[Any]:
        """:returns: a Deferred that fires when all take connections; they elect a leader after that."""
        starting = [server.start() for server in self.servers.values()]
        return DeferredList(starting, fireOnOneErrback=True, consumeErrors=True)

    def clean_up(self) -> Deferred[Any]:
        """Leave nothing behind, whatever became of the test."""
        return DeferredList([ended for server in self.servers.values() if (ended := server.clean_up())])
