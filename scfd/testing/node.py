"""A whole node in memory and in virtual time, for tests of plugins."""

from __future__ import annotations

from asyncio import iscoroutine
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.internet.defer import fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd import build, lifecycle
from scfd.config.nats import subject_matches
from scfd.deferreds import from_coroutine
from scfd.dev.state import ControlPlaneState
from scfd.errors import EXIT_COULD_NOT_START, StartupError, describe
from scfd.events.event import TriggerEvent
from scfd.events.wire import to_json
from scfd.node import add_services
from scfd.status.context import Context
from scfd.status.readiness import Phase
from scfd.testing import settings
from scfd.testing.control_plane import ControlPlane
from scfd.testing.engine import START, Engine, duration
from scfd.testing.jetstream import MAX_PAYLOAD, JetStream
from scfd.testing.mistakes import TestingError
from scfd.testing.nats import RestingClock, Server
from scfd.testing.outside import MemoryOutside, Seconds
from scfd.testing.record import Result
from scfd.testing.stream import StoredMessage

_log = Logger(namespace="scfd.testing")

#: Seconds.
DAY = 86_400.0
#: Seconds of virtual time that a start may take, a little more than a plugin's ``init`` may.
START_LIMIT = 400.0
#: Seconds of virtual time that a stop may take beyond ``shutdown.drain``.
STOP_LIMIT = 120.0


class _Root(lifecycle.Node):
    """A node that has no process to end, and no heap for itself."""

    reason: BaseException | None = None

    def settled(self) -> None:
        """The heap is the test's."""

    def could_not_start(self, failure: Failure) -> None:
        self.reason = failure.value
        self._end(EXIT_COULD_NOT_START)


class Node:
    """
    A node with its scheduler, dispatcher, reports and NATS triggers, whose clock moves when the test says so.

    Only what is outside is in memory: the control plane, the NATS server, the disk. It is ready when it has
    been made; `close` it, or use it in a ``with`` statement.

    :param plugin: a native plugin, an object. None takes the one that the config means.
    :param config: the sections of a config file as a dict, or the path of a file. Ports, ``gateway``,
        ``admin`` and ``dev`` are left out, but for the streams of ``dev.nats``.
    :param start: when it begins, RFC 3339.
    :param tasks: the task list: see `set_tasks`.
    :param zone: the process's time zone, in which cron expressions are read that name none.
    :param environ: environment variables that the config names, as ``${TOKEN}``.
    :param streams: subjects by the name of each JetStream stream. None is what the config needs.
    :raises scfd.errors.StartupError: the config has mistakes, or the plugin could not be initialised.
    :raises TestingError: the test has a mistake.
    :ivar control_plane: may be ``down()``, ``slow(seconds)``, ``respond_with(status)``, ``refuse(task_id)``,
        ``want_version(version)``, and ``up()`` again.
    :ivar nats: the server: ``down()`` and ``up()``.
    :ivar events: what the plugin was given, in order: `scfd.events.event.TriggerEvent` objects.
    :ivar root: the node's services.
    :ivar parts: what the endpoint for operators works on.
    :ivar exit_status: that with which the node has ended by itself; None while it runs.
    """

    __test__ = False  # no class of tests

    def __init__(
        self,
        plugin: Any = None,
        config: Mapping[str, Any] | str | Path | None = None,
        *,
        start: str = START,
        tasks: Sequence[Mapping[str, Any]] = (),
        zone: str = "UTC",
        environ: Mapping[str, str] | None = None,
        streams: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        settings.check_plugin(plugin)
        environ = {"TZ": zone, **(environ or {})}
        whole = settings.read(config, environ, plugin)
        self._config = cfg = settings.in_memory(whole)
        self._engine = engine = Engine(start)
        self._failures: deque[Exception] = deque()
        self.events: list[TriggerEvent] = []
        self.exit_status: int | None = None
        self._state = ControlPlaneState(engine.now, kept=None)
        protocol = whole.dev.control_plane.protocol if whole.dev.control_plane else "1"
        keys = build.signer(cfg, engine.now)
        self.control_plane = ControlPlane(self._state, protocol, keys, engine.reactor)
        self.control_plane.set_tasks(tasks)
        clock = RestingClock(engine.reactor)
        jetstream = JetStream(clock, engine.now, lambda: clock.rest(jetstream.idle))
        for name, subjects in streams.items() if streams is not None else settings.streams(whole):
            jetstream.make_stream(name, subjects)
        self._jetstream, self.nats = jetstream, Server(jetstream)
        self._outside = MemoryOutside(environ, plugin, self.control_plane, self.nats, clock)
        try:
            with engine.running():
                self._build()
        except BaseException:
            engine.close()
            raise
        self._start()

    def _build(self) -> None:
        cfg = self._config
        self._context = Context(self._engine.reactor, self._engine.now)
        identity = build.identity(cfg, {})
        self.root = root = _Root(self._context, identity, cfg.shutdown.drain, self._end)
        self.parts = add_services(root, cfg, identity, self._context, self._outside)
        # Folder, threads and pulse of a process.
        for name in ("state", "watchdog", "second tick", "outbox tick"):
            root.getServiceNamed(name).disownServiceParent()
        timers: Any = root.getServiceNamed("timers")
        Seconds(timers, self._engine.reactor, self._engine.now).setServiceParent(root)
        self._heartbeat: Any = root.getServiceNamed("heartbeat")
        adapter: Any = root.getServiceNamed("plugin")
        if adapter.threads is not None:
            self._engine.busy.append(lambda: adapter.threads.running)
        # What the dispatcher gives events to: a task plugin has somebody in between.
        handler: Any = root.namedServices.get("tasks", adapter)
        self._handle = handler.on_trigger
        handler.on_trigger = self._on_trigger

    def _start(self) -> None:
        readiness = self._context.readiness
        self._engine.run(
            START_LIMIT,
            self.root.startService,
            lambda: readiness.phase is Phase.RUNNING or self.root.reason is not None,
        )
        if self.root.reason is not None:
            error = self.root.reason
            self.close()
            raise error if isinstance(error, StartupError) else StartupError(describe(error)) from error
        self._engine.run()

    def _on_trigger(self, event: TriggerEvent) -> Any:
        self.events.append(event)
        return fail(self._failures.popleft()) if self._failures else self._handle(event)

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return datetime.fromtimestamp(self._engine.now(), timezone.utc)

    def advance(
        self,
        time: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """
        Let time pass, and have all happen that is due meanwhile.

        :raises TestingError: less than nothing; the node is closed; the plugin blocks.
        """
        self._engine.run(duration("advance", time, days, hours, minutes, seconds))

    def freeze(
        self,
        time: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let time pass in which the process stands still, as on a frozen machine: fires are missed."""
        self._engine.freeze(duration("freeze", time, days, hours, minutes, seconds))
        # What is due now, and the tick of the next second at the latest.
        self.advance(seconds=1)

    def set_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """
        Give the control plane another task list. The node has it at once, unless the control plane is away.

        :param tasks: each with a ``task_id`` at least; ``task_params`` may be a dict.
        """
        self.control_plane.set_tasks(tasks)
        self._engine.run(0, self._heartbeat.report_now)

    def publish(self, subject: str, data: Any = b"", headers: Mapping[str, str] | None = None) -> int:
        """
        Publish a message, as another program would; triggers get it at once.

        :param data: bytes or text; anything else becomes its JSON text.
        :returns: its sequence in the stream; that of the first one where its ``Nats-Msg-Id`` is a known one.
        :raises TestingError: no stream takes the subject, or the message is too large.
        """
        body = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else to_json(data)
        self._engine.check_open()
        stream = self._jetstream.stream_of(subject)
        if stream is None:
            raise TestingError(f"publish({subject!r}): no stream takes it; {self._jetstream.expected()}")
        if len(body) > MAX_PAYLOAD:
            raise TestingError(f"publish({subject!r}): {len(body)} bytes, expected up to {MAX_PAYLOAD}")
        sequence, _ = self._jetstream.store(stream, subject, body, dict(headers or {}))
        self._engine.run()
        return sequence

    def fire(self, trigger: str, payload: Any = None, tasks: Sequence[str] | None = None) -> None:
        """
        Give the plugin an event now, as ``scfd fire`` does.

        :param trigger: its name.
        :param payload: of the event; None is that of a timer's fire. A NATS trigger needs one.
        :param tasks: the ids of the tasks that the event has; None is all.
        :raises TestingError: there is no such trigger, or it can't make such an event.
        """
        self._engine.check_open()
        found = self.parts.trigger(trigger)
        if found is None:
            names = sorted(name for each in self.parts.triggers for name in each.names())
            raise TestingError(f"fire({trigger!r}): expected one of {', '.join(names) or 'no triggers'}")
        try:
            event = found.event(trigger, payload, tasks, {})
        except ValueError as error:
            raise TestingError(f"fire({trigger!r}): {error}") from None
        self._engine.run(0, lambda: self.parts.dispatcher.by_hand(event))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """
        Call a method of the plugin, or something else that needs the node's time.

        :returns: its value; that of its Deferred or coroutine, once it has one.
        :raises TestingError: there is none after a day.
        """
        outcome: list[Any] = []

        def begin() -> None:
            try:
                value = function(*arguments)
            except Exception:
                outcome.append(Failure())
                return
            called = from_coroutine(value) if iscoroutine(value) else maybeDeferred(lambda: value)
            called.addBoth(outcome.append)

        self._engine.run(DAY, begin, lambda: bool(outcome))
        if not outcome:
            raise TestingError(f"call({function!r}): no result after a day of virtual time")
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def fail_next(self, error: Exception, times: int = 1) -> None:
        """Have the plugin's next events fail with an error, instead of reaching it."""
        self._failures.extend([error] * times)

    @property
    def results(self) -> list[Result]:
        """What the control plane has taken, in order."""
        taken = self._state.as_json()["results"]
        names = ("task_id", "status", "result", "node_id", "at")
        return [Result(*(each[name] for name in names)) for each in taken]

    @property
    def refused(self) -> list[Result]:
        """What the control plane has refused for good, or never took; the node has put it aside."""
        return [Result(*row) for row in self._outside.kept.refused()]

    @property
    def tasks(self) -> Sequence[Mapping[str, Any]]:
        """The task list that the control plane has."""
        return self._state.tasks

    def messages(self, pattern: str = ">") -> list[StoredMessage]:
        """
        What is in the streams, in order.

        :param pattern: of subjects, with ``*`` and ``>``.
        """
        found = [
            message
            for stream in self._jetstream.streams.values()
            for message in stream.messages.values()
            if subject_matches(pattern, message.subject)
        ]
        return sorted(found, key=lambda message: message.stored)

    @property
    def dead_letters(self) -> list[StoredMessage]:
        """Messages whose last delivery has failed, with the reason in the header ``Scfd-Reason``."""
        return [message for message in self.messages() if "Scfd-Reason" in message.headers]

    @property
    def log(self) -> list[str]:
        """The node's log lines: time, level, namespace and text."""
        return self._engine.log.lines()

    @property
    def problems(self) -> list[str]:
        """What ``GET /ready`` would say; empty when the node is ready."""
        return [f"{problem.component}: {problem.reason}" for problem in self._context.readiness.problems()]

    def metric(self, name: str, **labels: str) -> float:
        """
        A figure of ``GET /metrics``.

        :param name: such as ``scfd_events_total``.
        :raises TestingError: there is none.
        """
        value = self._context.metrics.registry.get_sample_value(name, labels)
        if value is None:
            raise TestingError(f"metric({name!r}): there is none with the labels {labels}")
        return value

    def _end(self, status: int) -> None:
        if self.exit_status is None:
            self.exit_status = status
            if status != EXIT_COULD_NOT_START:
                self._engine.reactor.callLater(0, self.root.stopService)

    def close(self) -> None:
        """Stop the node as SIGTERM does. A second call does nothing."""
        if self._engine.closed:
            return
        stopped: list[object] = []

        def stop() -> None:
            self.root.stopService().addBoth(stopped.append)

        try:
            if self.exit_status in (None, EXIT_COULD_NOT_START):
                limit = self._config.shutdown.drain + STOP_LIMIT
                self._engine.run(limit, stop, lambda: bool(stopped))
        finally:
            self._engine.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
