"""What a node in memory has in place of network, disk and the pulse of real time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from scfd.adapter.registry import checked
from scfd.build import Outside
from scfd.config import Config
from scfd.reports.outbox import Outbox
from scfd.reports.schema import make_tables
from scfd.reports.state_dir import Folder
from scfd.testing.clock import VirtualReactor
from scfd.testing.control_plane import ControlPlane
from scfd.testing.nats import MemoryConnection, RestingClock, Server
from scfd.triggers.nats.access import Access
from scfd.triggers.nats.connection import Connection
from scfd.triggers.timer.trigger import Timers

T = TypeVar("T")


class _MemoryFile:
    """Takes the place of an `OutboxFile`. :param db: outlives the node."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        make_tables(db)

    def use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return work(self._db)

    def close(self) -> None:
        """There is nothing to close."""


class _SameThread:
    """Takes the place of a thread pool."""

    started = True

    def callInThreadWithCallback(  # noqa: N802 - Twisted's name
        self, result: Callable[[bool, Any], object], function: Callable[..., Any], *args: Any, **named: Any
    ) -> None:
        try:
            success, value = True, function(*args, **named)
        except Exception:
            success, value = False, Failure()
        result(success, value)

    def stop(self) -> None:
        """There is nothing to stop."""


class MemoryOutbox(Outbox):
    """The outbox with its own SQL, without a file and a thread."""

    def __init__(self, folder: Folder, db: sqlite3.Connection, reactor: Any) -> None:
        super().__init__(folder, reactor)
        file, pool = _MemoryFile(db), _SameThread()
        self._file, self._pool = cast(Any, file), cast(Any, pool)

    def refused(self) -> list[tuple[str, int, str, str]]:
        """:returns: task, status, text and node of each result that was put aside."""
        return self._file.use(
            lambda db: db.execute(
                "SELECT task_id, status, result, node_id FROM refused ORDER BY seq"
            ).fetchall()
        )


class MemoryOutside(Outside):
    """
    :param plugin: an object; None takes that of the config.
    :param clock: that of JetStream and its triggers.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        plugin: Any,
        control_plane: ControlPlane,
        server: Server,
        clock: RestingClock,
    ) -> None:
        super().__init__(environ)
        self._plugin = plugin
        self._control_plane = control_plane
        self._server = server
        self._clock = clock
        self._db = sqlite3.connect(":memory:", isolation_level=None)

    def plugin(self, cfg: Config) -> Any:
        return super().plugin(cfg) if self._plugin is None else checked(self._plugin)

    def http_client(self, reactor: Any) -> HTTPClient:
        client: Any = self._control_plane
        return client  # type: ignore[no-any-return]

    def outbox(self, folder: Folder, reactor: Any) -> MemoryOutbox:
        self.kept = MemoryOutbox(folder, self._db, reactor)
        return self.kept

    def nats_connection(self, access: Access, name: str) -> Connection:
        return MemoryConnection(access, name, self._server)

    def nats_clock(self, reactor: Any) -> Any:
        return self._clock


class Seconds(Service):
    """The tick of each second in which a timer has something to do, in a time that nobody sets."""

    def __init__(self, timers: Timers, reactor: VirtualReactor, now: Callable[[], float]) -> None:
        self._timers = timers
        self._reactor = reactor
        self._now = now
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wait(self) -> None:
        now = self._now()
        # Whole seconds, like those of the ticks that this takes the place of.
        self._due = float(int(min(self._timers.next_tick(now), now + 366 * 86_400.0)))
        self._call = self._reactor.callLater(max(0.0, self._due - now), self._tick)

    def _tick(self) -> None:
        self._call = None
        now = self._now()
        self._timers.skipped(now - self._due + 1)
        try:
            self._timers.tick(now)
        finally:
            self._wait()
