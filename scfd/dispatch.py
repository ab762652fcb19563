"""From an event to the plugin, and from the plugin's response to the reports."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.deferreds import InFlight
from scfd.errors import EventError, PluginUnavailableError
from scfd.events.event import TaskResult, TaskStatus, TriggerEvent, TriggerResponse
from scfd.events.response import shown, usable_result
from scfd.events.tasks import EMPTY_SNAPSHOT, TaskSnapshot, TaskStore
from scfd.events.trace import ids
from scfd.identity import Identity
from scfd.interfaces import IDrainable, IEventHandler, IReports
from scfd.status.context import Context
from scfd.status.history import PastEvent
from scfd.status.metrics import Count, Distribution
from scfd.status.said import Said

_log = Logger(namespace="scfd.dispatch")
#: Results of one event that the outbox is given at once: 50,000 would hold the reactor for 0.4 s.
AT_ONCE = 1000

#: Characters of a task's last result that are kept for operators.
TEXT_KEPT = 200

_STATUSES = frozenset(map(int, TaskStatus))


class _Figures(NamedTuple):
    """Counters of one trigger: looking up a label takes longer than counting."""

    succeeded: Count
    seconds: Distribution


class LastResult(NamedTuple):
    """
    What became of a task last.

    :ivar text: its beginning.
    :ivar at: seconds since the epoch.
    """

    status: int
    text: str
    at: float


class Dispatcher:
    """
    Hands events to the plugin, and its results to the reports.

    :ivar spans: a `scfd.spans.Spans`, where somebody has asked for them.
    :ivar running: how many events the plugin is working on.
    :ivar succeeded: events since the start whose results are on disk.
    :ivar failed: events since the start that failed.
    :ivar failing: the tasks of the list whose last result was a failure, wholly or partly.
    """

    def __init__(
        self,
        handler: IEventHandler,
        identity: Identity,
        task_store: TaskStore,
        reports: IReports,
        context: Context,
    ) -> None:
        self._handler = handler
        self._identity = identity
        self._task_store = task_store
        self._reports = reports
        self._metrics = context.metrics
        self._history = context.history
        self._now = context.now
        self._clock = context.reactor
        self.spans: Any = None
        self.running = self.succeeded = self.failed = 0
        self.failing: set[str] = set()
        #: Plain tuples: the garbage collector passes over them.
        self._last_results: dict[str, tuple[int, str, float]] = {}
        self._last_snapshot = EMPTY_SNAPSHOT
        self._figures: dict[str, _Figures] = {}
        self._unstored: set[str] = set()
        self._said = Said()

    def dispatch(self, event: TriggerEvent) -> Deferred[None]:
        """
        Have the plugin handle an event. A coroutine would add a quarter to the node's time for it.

        :returns: a Deferred that fires when the results are on disk. It fails when the plugin or the disk
            fails; the event may then be tried again.
        """
        return self._given(event.at_node(self._node_metadata(), self._task_store.snapshot))

    def by_hand(self, event: TriggerEvent) -> Deferred[PastEvent]:
        """
        Have the plugin handle an event that an operator has asked for.

        :returns: a Deferred of what became of it. It does not fail.
        """
        event = event.at_node(self._node_metadata(), self._task_store.snapshot)
        noted = self._history.follow(event)
        self._given(event).addErrback(lambda failure: None)  # what has failed is in the history
        return noted

    def _given(self, event: TriggerEvent) -> Deferred[None]:
        began = self._clock.seconds()
        self.running += 1
        try:
            acted: Deferred[TriggerResponse] = self._handler.on_trigger(event)
        except Exception:
            acted = fail()
        if acted.called and isinstance(acted.result, TriggerResponse) and not acted.result.task_results:
            # Nothing to wait for: a callback would take longer than all that is done here.
            self._acted(acted.result, event, began)
            return succeed(None)
        done: Deferred[Any] = acted
        self._history.begun(event, began, done)
        return done.addBoth(self._acted, event, began)

    def _acted(self, result: TriggerResponse | Failure, event: TriggerEvent, began: float) -> Any:
        if self.spans is not None:
            self.spans.called(event, self._clock.seconds() - began, result)
        if not isinstance(result, Failure):
            self._note_snapshot(self._task_store.snapshot)
            if result.unstored:
                self._note_unstored(event, result.unstored)
            if result.task_results:
                try:
                    accepted = self.report(event, result.task_results)
                except Exception:
                    accepted = fail()
                return accepted.addBoth(self._ended, event, began)
        return self._ended(result, event, began)

    def report(self, event: TriggerEvent, results: tuple[TaskResult, ...]) -> Deferred[list[TaskResult]]:
        """
        Take results of an event.

        :returns: a Deferred of those that could be used and are not in the history yet, once all are on disk;
            it fails when they can't be put there.
        """
        if self.spans is not None:
            self.spans.reported(event, results)
        if len(results) <= AT_ONCE:
            usable = self._usable(event, results)
            accepted: Deferred[Any] = self._reports.put(usable)
            return accepted.addCallback(lambda _: usable)
        return Deferred.fromCoroutine(self._accept_in_parts(event, results))

    def report_early(self, event: TriggerEvent, results: tuple[TaskResult, ...]) -> Deferred[None]:
        """Take results of an event that goes on: see `report`."""

        def note(usable: list[TaskResult]) -> None:
            self._history.reported(event, usable)

        return self.report(event, results).addCallback(note)

    async def _accept_in_parts(
        self, event: TriggerEvent, results: tuple[TaskResult, ...]
    ) -> list[TaskResult]:
        """Each part is noted, and freed, when it is on disk: none is left to return."""
        rest = list(reversed(results))
        del results
        while rest:
            usable = self._usable(event, rest[: -AT_ONCE - 1 : -1])
            del rest[-AT_ONCE:]
            await self._reports.put(usable)
            self._history.reported(event, usable)
        return []

    def _ended(self, result: object, event: TriggerEvent, began: float) -> Failure | None:
        """
        :param result: task results that are on disk; a failure of the plugin or the disk; or anything else
            where there are no results.
        """
        figures = self._figures.get(event.name) or self._make_figures(event.name)
        seconds = max(0.0, self._clock.seconds() - began)
        figures.seconds.observe(seconds)
        self.running -= 1
        failure = result if isinstance(result, Failure) else None
        self._history.ended(event, seconds, failure, result if isinstance(result, list) else ())
        if isinstance(result, Failure):
            if result.check(PluginUnavailableError):
                # Said once by the adapter. Nothing of the event was handled; its trigger keeps it.
                self._metrics.events.labels(event.name, "not sent").inc()
                return result
            self.failed += 1
            self._metrics.events.labels(event.name, "failed").inc()
            self._log_failure(event, result)
            return result
        self.succeeded += 1
        figures.succeeded.inc()
        return None

    def _make_figures(self, trigger: str) -> _Figures:
        self._figures[trigger] = figures = _Figures(
            self._metrics.events.labels(trigger, "succeeded"), self._metrics.event_seconds.labels(trigger)
        )
        return figures

    def _log_failure(self, event: TriggerEvent, failure: Failure) -> None:
        if failure.check(EventError, CancelledError):
            _log.warn(
                "{trigger}: {what} failed: {error} (trace {trace})",
                trigger=event.name,
                what=event.describe(),
                error=failure.getErrorMessage() or "cancelled",
                **ids(event.traceparent),
            )
        else:
            # A fault in the plugin's code: its author needs the traceback.
            _log.failure(
                "{trigger}: {what} failed (trace {trace})",
                failure,
                trigger=event.name,
                what=event.describe(),
                **ids(event.traceparent),
            )

    def last_result(self, task_id: str) -> LastResult | None:
        """What became last of a task in the list; None when nothing has since the start."""
        last = self._last_results.get(task_id)
        return None if last is None else LastResult(*last)

    def _node_metadata(self) -> dict[str, str]:
        metadata = {"nodeID": self._identity.node_id, "version": self._identity.version}
        if self._identity.storage_server_url:
            metadata["storage_server_url"] = self._identity.storage_server_url
        if self._identity.storage_server_rpc:
            metadata["storage_server_rpc"] = self._identity.storage_server_rpc
        return metadata

    def _usable(self, event: TriggerEvent, results: Sequence[TaskResult]) -> list[TaskResult]:
        usable = []
        for index, result in enumerate(results):
            try:
                usable.append(usable_result(result))
            except ValueError as error:
                self._note_dropped(event, index, str(error))
        for status, count in Counts(int(result.status) for result in usable).items():
            # A plugin may make up any number; a label with as many values would fill the memory.
            label = str(status) if status in _STATUSES else "other"
            self._metrics.results.labels(label).inc(count)
        self._note_strangers(event, usable)
        self._note_failing(usable, event.snapshot)
        return usable

    def _note_dropped(self, event: TriggerEvent, index: int, reason: str) -> None:
        self._metrics.results_dropped.labels("malformed").inc()
        if self._said.first((event.name, reason)):
            _log.warn(
                "{trigger}: result {index} of the plugin's response is dropped: {reason}",
                trigger=event.name,
                index=index,
                reason=reason,
                **ids(event.traceparent),
            )

    def _note_strangers(self, event: TriggerEvent, results: list[TaskResult]) -> None:
        """A result for a task that is not in the list is reported all the same; said once for each list."""
        known = event.snapshot.ids
        strangers = [result.task_id for result in results if result.task_id not in known] if known else []
        if not strangers:
            return
        self._metrics.results_unknown.inc(len(strangers))
        if self._said.first((event.name, event.tasks_md5)):
            _log.warn(
                "{trigger}: a result has the task_id {task_id}, expected that of a task in the list, such as"
                " {known!r}; it is reported as it is",
                trigger=event.name,
                task_id=shown(strangers[0]),
                known=min(known),
                **ids(event.traceparent),
            )

    def _note_unstored(self, event: TriggerEvent, count: int) -> None:
        if event.name not in self._unstored:
            self._unstored.add(event.name)
            _log.warn(
                "{trigger}: the plugin's response has data points (data_points, write_groups): expected only"
                " task_results, the node can't store data; such points are dropped and counted",
                trigger=event.name,
                **ids(event.traceparent),
            )
        self._metrics.data_points_dropped.labels(event.name).inc(count)

    def _note_snapshot(self, snapshot: TaskSnapshot) -> None:
        if snapshot is not self._last_snapshot:
            self._last_snapshot = snapshot
            self._forget(list(self._last_results))

    def _forget(self, task_ids: list[str]) -> None:
        """Forget those that have left the list, or a changing list would fill the memory; some at a time."""
        for task_id in task_ids[-AT_ONCE:]:
            if task_id not in self._last_snapshot.ids:
                self._last_results.pop(task_id, None)
                self.failing.discard(task_id)
        del task_ids[-AT_ONCE:]
        if task_ids:
            self._clock.callLater(0, self._forget, task_ids)

    def _note_failing(self, results: list[TaskResult], snapshot: TaskSnapshot) -> None:
        now = self._now()
        for result in results:
            if result.task_id in snapshot.ids:
                text = result.result[:TEXT_KEPT]
                self._last_results[result.task_id] = (int(result.status), text, now)
            if (
                result.status in (TaskStatus.FAILED, TaskStatus.PARTLY_FAILED)
                and result.task_id in snapshot.ids
            ):
                self.failing.add(result.task_id)
            else:
                self.failing.discard(result.task_id)


@implementer(IDrainable)
class ByHand(Service):
    """The events that operators have asked for: the node does not stop before they have ended."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._in_flight = InFlight()

    def dispatch(self, event: TriggerEvent) -> Deferred[PastEvent]:
        """See `Dispatcher.by_hand`."""
        return self._in_flight.add(self._dispatcher.by_hand(event))

    def drain(self) -> Deferred[None]:
        """See `IDrainable`. It is the caller who takes no new ones."""
        return self._in_flight.drained()
