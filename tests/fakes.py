"""Stand-ins for the parts of a node: real providers of its interfaces that check what they are given."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.web.resource import IResource
from zope.interface import implementer

from scfd.config import Address
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.interfaces import IAdapter, IDrainable, IReports


class FakeSockets:
    """
    Makes sockets that listen nowhere: a `scfd.web.Bind`.

    :ivar addresses: what was to be listened on.
    :ivar error: what to raise.
    """

    family = socket.AF_INET

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.error: Exception | None = None

    def __call__(self, key: str, address: Address) -> Any:
        if self.error is not None:
            raise self.error
        self.addresses.append(address)
        return self

    def __enter__(self) -> FakeSockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to close."""

    def fileno(self) -> int:
        return 99


@implementer(IAdapter)
class FakeAdapter(Service):
    """
    An adapter whose plugin is a function of the test.

    :param plugin: called with each event; may return a response or a Deferred of one, or raise.
    :ivar events: every event so far, in order.
    :ivar extra: what the plugin adds to heartbeats.
    :ivar resource: what the plugin serves behind the gateway.
    """

    plugin_name = "fake-plugin"

    def __init__(self, plugin: Callable[[TriggerEvent], Any] = lambda event: TriggerResponse()) -> None:
        self._plugin = plugin
        self.events: list[TriggerEvent] = []
        self.extra: dict[str, Any] = {}
        self.resource: IResource | None = None

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        for name in ("nodeID", "version"):
            assert name in event.metadata, f"an event without {name}: {event}"
        for name, value in event.metadata.items():
            assert isinstance(name, str) and isinstance(value, str), f"metadata {name!r}: {value!r}"
        self.events.append(event)
        return maybeDeferred(self._plugin, event)

    def heartbeat_extra(self) -> dict[str, Any]:
        return dict(self.extra)

    def web_resource(self) -> IResource | None:
        return self.resource


@implementer(IReports)
class MemoryReports:
    """
    Reports that keep results in memory.

    :ivar accepted: every result so far, in order.
    :ivar broken: an exception that `put` is to fail with, as when the disk is full.
    """

    def __init__(self) -> None:
        self.accepted: list[TaskResult] = []
        self.broken: Exception | None = None

    def put(self, results: Sequence[TaskResult]) -> Deferred[None]:
        for result in results:
            assert isinstance(result, TaskResult) and result.is_usable(), f"not a usable result: {result!r}"
        if self.broken is not None:
            return fail(self.broken)
        self.accepted.extend(results)
        return succeed(None)


@implementer(IDrainable)
class FakeService(Service):
    """
    A service that notes what is done to it, and is done with it when the test says so.

    :param journal: where it writes ``start NAME``, ``drain NAME`` and ``stop NAME``.
    :ivar starting: what ``startService`` returns or raises; likewise `draining` and `stopping`.
    """

    def __init__(self, name: str, journal: list[str]) -> None:
        self.setName(name)
        self._journal = journal
        self.starting: Deferred[None] | Exception | None = None
        self.draining: Deferred[None] | Exception = succeed(None)
        self.stopping: Deferred[None] | Exception | None = None

    def startService(self) -> Deferred[None] | None:
        super().startService()
        return self._note("start", self.starting)

    def drain(self) -> Deferred[None]:
        draining = self._note("drain", self.draining)
        assert draining is not None
        return draining

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        return self._note("stop", self.stopping)

    def _note(self, what: str, outcome: Deferred[None] | Exception | None) -> Deferred[None] | None:
        self._journal.append(f"{what} {self.name}")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class FakeReactor(Clock):
    """
    A reactor that the test runs by hand.

    :ivar stops: how often it was asked to stop.
    """

    def __init__(self) -> None:
        super().__init__()
        self._when_running: list[Callable[[], object]] = []
        self._running = False
        self.stops = 0

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        if self._running:
            function()
        else:
            self._when_running.append(function)

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self.callLater(0, function, *args)

    def run(self) -> None:
        """Begin to run; returns at once."""
        self._running = True
        for function in self._when_running:
            function()

    def stop(self) -> None:
        if not self._running:
            raise ReactorNotRunning()
        self._running = False
        self.stops += 1
