"""Calls a task plugin: once for each task of a timer's event, a few at a time, and once for a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, fail
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.adapter.task_failures import TaskFailures, words_of
from scfd.deferreds import InFlight
from scfd.errors import EventError, PluginError, PluginUnavailableError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.response import WrongResultError, failed_result
from scfd.events.work import Message, Task, due
from scfd.interfaces import IDrainable, IEventHandler
from scfd.status.context import Context

T = TypeVar("T")
#: A task as the control plane sent it, and the interval of a job.
Work = tuple[Mapping[str, Any], str | None]
#: Hands on results of an event before that has ended; fires when they are on disk.
Report = Callable[[TriggerEvent, tuple[TaskResult, ...]], "Deferred[Any]"]

#: Seconds until a failed attempt is repeated; twice as long each time, up to the second figure.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Seconds until a plugin is tried again that could not be reached, while nobody says that it is away.
UNREACHED_PAUSE = 1.0
#: Seconds that tasks which never wait may take together, before something else has its turn.
AT_ONCE = 0.005


@frozen
class TaskLimits:
    """
    How the tasks of one trigger are run.

    :ivar timeout: seconds that one attempt may take.
    :ivar retries: further attempts after one that has failed.
    :ivar slots: one for each task that may run at once; triggers may share them.
    """

    timeout: float
    retries: int
    slots: DeferredSemaphore


@implementer(IEventHandler, IDrainable)
class TaskRunner(Service):
    """
    Stands between the dispatcher and the adapter of a task plugin.

    :param adapter: a `scfd.interfaces.ITaskAdapter`.
    :param limits: by the names of the triggers.
    :ivar report: the dispatcher's own way for results; to be set before the first event.
    """

    report: Report

    def __init__(self, adapter: Any, limits: Mapping[str, TaskLimits], context: Context) -> None:
        self.adapter = adapter
        self.limits = limits
        self.availability = context.availability
        self.metrics = context.metrics
        self.clock = context.reactor
        self.draining = False
        self.failures = TaskFailures()
        self._running: dict[_Handling, None] = {}
        self._in_flight = InFlight()
        self._unavailable: list[Deferred[None]] = []
        self.availability.watch(self._available)

    def on_trigger(self, event: TriggerEvent) -> Deferred[TriggerResponse]:
        """
        Have the plugin handle an event: see `IEventHandler`. Results of a timer's event are
        reported one by one; its response has none.
        """
        handling = (_TimerHandling if event.type == "timer" else _MessageHandling)(self, event)
        self._running[handling] = None
        ended = handling.start()
        self._in_flight.add(handling.work).addBoth(lambda _: self._running.pop(handling))
        return ended

    def drain(self) -> Deferred[None]:
        """Begin no further tasks, nor attempts: see `IDrainable`."""
        self.draining = True
        for handling in list(self._running):
            handling.stop("the node is stopping")
        return self._in_flight.drained()

    def stopService(self) -> Deferred[None]:
        """Cut off what still runs. :returns: a Deferred that fires when what it has reported is on disk."""
        super().stopService()
        for handling in list(self._running):
            handling.cut_off("the node has stopped")
        return self._in_flight.drained()

    def available(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the plugin can take events again. It may be cancelled."""
        waiting: Deferred[None] = Deferred(self._unavailable.remove)
        self._unavailable.append(waiting)
        return waiting

    def _available(self, available: bool) -> None:
        if available:
            waiting, self._unavailable = self._unavailable, []
            for deferred in waiting:
                deferred.callback(None)


class _Handling:
    """
    One event at the plugin.

    :ivar stopped: why nothing more is begun; empty while it is.
    :ivar was_cut_off: whether what runs was cancelled, too.
    """

    def __init__(self, runner: TaskRunner, event: TriggerEvent) -> None:
        self._runner = runner
        self._event = event
        self._limits = runner.limits[event.name]
        self._deadline = None if event.timeout is None else runner.clock.seconds() + event.timeout
        self._waits: set[Deferred[Any]] = set()
        self.stopped = "the node is stopping" if runner.draining else ""
        self.was_cut_off = False

    def start(self) -> Deferred[TriggerResponse]:
        """:returns: a Deferred that ends at once when it is cancelled."""
        self.work: Deferred[Any] = Deferred.fromCoroutine(self._handle())
        ended: Deferred[TriggerResponse] = Deferred(lambda _: self.cut_off("it was cancelled"))

        def pass_on(result: Any) -> None:
            if not ended.called:
                (ended.errback if isinstance(result, Failure) else ended.callback)(result)

        self.work.addBoth(pass_on)
        return ended

    async def _handle(self) -> TriggerResponse:
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        """Begin nothing more."""
        self.stopped = self.stopped or reason
        for waiting in list(self._waits):
            waiting.cancel()

    def cut_off(self, reason: str) -> None:
        """Cancel what runs."""
        self.was_cut_off = True
        self.stop(reason)
        self.work.cancel()

    async def _wait(self, waiting: Deferred[Any]) -> None:
        """Wait for something, or until nothing more is begun."""
        self._waits.add(waiting)
        try:
            await waiting
        except CancelledError:
            if self.was_cut_off:
                raise
        finally:
            self._waits.discard(waiting)

    def _seconds_left(self) -> float:
        """Of the event's own time and the attempt's."""
        if self._deadline is None:
            return self._limits.timeout
        left: float = self._deadline - self._runner.clock.seconds()
        return min(self._limits.timeout, left)

    async def _attempts(self, call: Callable[[float], Deferred[T]]) -> T:
        """
        Call the plugin, again where it fails.

        :param call: gets seconds that it may take.
        :raises Exception: what the last attempt failed with.
        """
        pause = FIRST_PAUSE
        for retries_left in range(self._limits.retries, -1, -1):
            await self._thread()
            try:
                return await call(self._seconds_left())
            except (PluginUnavailableError, WrongResultError):
                raise
            except Exception as error:
                if self.was_cut_off or not retries_left:
                    raise
                failure = error
            await self._wait(deferLater(self._runner.clock, pause))
            pause = min(2 * pause, LONGEST_PAUSE)
            if self.stopped or self._seconds_left() <= 0:
                raise failure
            self._runner.metrics.task_retries.labels(self._event.name).inc()
        raise AssertionError

    async def _thread(self) -> None:
        """
        Wait until a call would begin at once. It would not run while its time does: threads may be stuck.

        :raises PluginUnavailableError: nothing more is begun.
        """
        runner = self._runner
        while (busy := runner.adapter.busy()) is not None:
            if self._deadline is not None:
                busy.addTimeout(max(self._deadline - runner.clock.seconds(), 0), runner.clock, _no_thread)
            await self._wait(busy)
            if self.stopped or not runner.availability.available:
                raise PluginUnavailableError(self.stopped or "all its threads are stuck")


def _no_thread(result: Any, seconds: float) -> Any:
    raise PluginError("none of its threads was free")


class _MessageHandling(_Handling):
    async def _handle(self) -> TriggerResponse:
        message, adapter = Message.of(self._event), self._runner.adapter
        response: TriggerResponse = await self._attempts(
            lambda seconds: adapter.call_message(message, self._event, seconds)
        )
        return response


class _TimerHandling(_Handling):
    """Several workers, each of which takes the next task once the result of the one before is on disk."""

    def __init__(self, runner: TaskRunner, event: TriggerEvent) -> None:
        super().__init__(runner, event)
        self._due: Iterator[Work] = due(event)
        #: Those that the plugin could not be given, and those of them that it is given again.
        self._not_given: list[Work] = []
        self._again: list[Work] = []
        self._given = self._cut_off = 0
        self._batch: tuple[list[TaskResult], Deferred[None]] | None = None
        self._storing = InFlight()
        self._not_stored: Failure | None = None
        self._pause: Deferred[None] | None = None
        self._paused_at = runner.clock.seconds()

    async def _handle(self) -> TriggerResponse:
        timer = None
        if self._event.timeout is not None:
            timer = self._runner.clock.callLater(self._event.timeout, self._time_is_over)
        try:
            await self._run_all()
        except CancelledError:
            pass  # says so itself, below
        finally:
            if timer is not None and timer.active():
                timer.cancel()
        self._store_batch()
        await self._storing.drained()
        left = len(self._not_given) + len(self._again) + sum(1 for _ in self._due)
        if left or self._cut_off:
            self._runner.metrics.tasks_left.labels(self._event.name).inc(left + self._cut_off)
        if self._not_stored is not None:
            self._not_stored.raiseException()
        if left or self._cut_off:
            cut_off = f" and {self._cut_off} not finished" if self._cut_off else ""
            words = (
                f"{left} tasks were not begun{cut_off}, since {self.stopped}; they are left for the next fire"
            )
            raise CancelledError(words) if self.was_cut_off else PluginError(words)
        return TriggerResponse()

    def _time_is_over(self) -> None:
        self.stop(f"the event's {self._event.timeout:g} s are over")

    async def _run_all(self) -> None:
        while True:
            workers: list[Deferred[None]] = []
            while len(workers) < self._limits.slots.limit and (work := self._take()) is not None:
                workers.append(Deferred.fromCoroutine(self._work(work)))
            outcomes: Any = await DeferredList(workers, consumeErrors=True)
            for success, result in outcomes:
                if not success and not self.was_cut_off:
                    result.raiseException()
            if self.stopped or not self._not_given:
                return
            if not self._given:
                raise PluginUnavailableError("the plugin can't be given tasks now")
            await self._wait_for_plugin()
            self._again, self._not_given = self._not_given + self._again, []

    async def _wait_for_plugin(self) -> None:
        runner = self._runner
        if runner.availability.available:
            await self._wait(deferLater(runner.clock, UNREACHED_PAUSE))
        while not runner.availability.available and not self.stopped:
            await self._wait(runner.available())

    def _take(self) -> Work | None:
        """:returns: the next task; None when none is to be begun now."""
        if self._seconds_left() <= 0:
            self._time_is_over()
        if self.stopped or self._not_given:
            return None
        work = self._again.pop() if self._again else next(self._due, None)
        if work is None or self._runner.availability.available:
            return work
        self._not_given.append(work)
        return None

    async def _work(self, first: Work) -> None:
        work: Work | None = first
        while work is not None:
            await self._limits.slots.acquire()
            try:
                await self._let_others_go_on()
                await self._run(work)
            finally:
                self._limits.slots.release()
            work = self._take()

    async def _let_others_go_on(self) -> None:
        """A plugin that never waits would hold the reactor for as long as there are tasks."""
        clock = self._runner.clock
        if self._pause is None and clock.seconds() - self._paused_at > AT_ONCE:
            self._pause = deferLater(clock, 0, self._go_on)
        while self._pause is not None:
            await self._pause

    def _go_on(self) -> None:
        self._pause = None
        self._paused_at = self._runner.clock.seconds()

    async def _run(self, work: Work) -> None:
        if self.stopped:
            self._not_given.append(work)
            return
        try:
            result = await self._result(*work)
        except PluginUnavailableError:
            self._not_given.append(work)
            return
        except CancelledError:
            self._cut_off += 1
            raise
        self._given += 1
        await self._store(result)

    async def _result(self, fields: Mapping[str, Any], interval: str | None) -> TaskResult:
        task_id, adapter = fields["task_id"], self._runner.adapter
        try:
            task = _task(fields, interval)
            result: TaskResult = await self._attempts(
                lambda seconds: adapter.call_task(task, self._event, seconds)
            )
            return result
        except PluginUnavailableError:
            raise
        except Exception as error:
            if self.was_cut_off:
                raise
            self._runner.failures.note(self._event, task_id, Failure())
            return failed_result(task_id, words_of(error))

    def _store(self, result: TaskResult) -> Deferred[None]:
        """:returns: a Deferred that fires when the result is on disk, with others of this moment."""
        if self._batch is None:
            self._batch = [], Deferred()
            self._runner.clock.callLater(0, self._store_batch)
        results, stored = self._batch
        results.append(result)
        return stored

    def _store_batch(self) -> None:
        if self._batch is None:
            return  # done already, at the end of the event
        (results, stored), self._batch = self._batch, None
        try:
            reported = self._runner.report(self._event, tuple(results))
        except Exception:
            reported = fail()
        self._storing.add(reported.addErrback(self._failed_to_store))
        reported.addCallback(lambda _: stored.callback(None))

    def _failed_to_store(self, failure: Failure) -> None:
        self._not_stored = self._not_stored or failure
        self.stop("their results can't be stored")


def _task(fields: Mapping[str, Any], interval: str | None) -> Task:
    try:
        return Task(fields, interval)
    except ValueError as error:
        raise EventError(str(error)) from None
