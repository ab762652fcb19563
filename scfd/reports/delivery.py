"""
Task results on their way to the control plane: kept until delivered, in order per task.

``POST {server}/gateway/collectmgr/ReportTaskStatus``, one result each. A result is on disk before
it counts as accepted; the server's response decides whether it is delivered, refused for good, or
tried again.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.control_plane.generations import report_request
from scfd.control_plane.learning import LearningClient
from scfd.control_plane.verdict import Verdict, judge
from scfd.deferreds import InFlight
from scfd.errors import OutboxFullError, describe
from scfd.events.event import TaskResult
from scfd.identity import Identity
from scfd.interfaces import IReports
from scfd.reports.outbox import Entry, Outbox
from scfd.reports.pace import Backoff, Pace
from scfd.reports.queues import SORTED_AT_ONCE, TaskQueues
from scfd.reports.storage import DISK_ERRORS, Storage
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

PATH = "/collectmgr/ReportTaskStatus"
#: Seconds for one try.
REQUEST_TIMEOUT = 10.0
#: Seconds that stopping waits for deliveries; what is left is on disk.
FLUSH_LIMIT = 3.0
#: Outcome, in the metric, of the last try of a result that is given up.
PUT_ASIDE = "put aside"


def size_of(result: TaskResult) -> int:
    """Bytes that a result takes up while it waits, roughly: 200 besides its texts."""
    return 200 + len(result.task_id) + len(result.result)


@frozen
class Limits:
    """
    :ivar size: bytes of results that may wait, in memory as on disk. Past it further ones are not accepted: a
        message is delivered again later, a timer's results are lost, and counted.
    :ivar tries: how often the control plane must have responded without taking a result, before the result is
        put aside.
    :ivar patience: seconds that must have passed as well since the first of these responses.
    """

    size: int
    tries: int = 20
    patience: float = 3600.0


@define
class _Tries:
    """
    What became of the first result in a task's queue so far.

    :ivar responses: how many did not take it.
    :ivar since: when the first of them came, by the reactor's clock.
    """

    backoff: Backoff
    responses: int = 0
    since: float = 0.0


@implementer(IReports)
class Reports(Service):
    """
    Takes results and delivers them.

    One result of a task is on its way at a time; its later ones wait behind it.

    :param chance: spreads the pauses; gives numbers from 0 to below 1.
    :ivar delivered: how many the control plane took since the start.
    """

    def __init__(
        self,
        outbox: Outbox,
        client: LearningClient,
        identity: Identity,
        context: Context,
        limits: Limits,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._storage = Storage(context)
        self._client = client
        self._identity = identity
        self._metrics = context.metrics
        self._clock = context.reactor
        self._limits = limits
        self._chance = chance
        self._size = 0
        self._queues = TaskQueues(self._clock, self._pump)
        self._pace = Pace(self._clock, self._pump, chance)
        self._tries: dict[str, _Tries] = {}
        self._in_flight = InFlight()
        self._closed = self._pumping = False
        self._said = ""
        self.delivered = 0

    def tidy(self, now: float) -> Deferred[None]:
        """Keep the outbox small; called every hour."""
        return self._outbox.tidy().addErrback(self._not_tidied)

    def _not_tidied(self, failure: Failure) -> None:
        failure.trap(*DISK_ERRORS)
        self._metrics.storage_errors.inc()
        words = failure.getErrorMessage()
        _log.error("the outbox is not tidied: {words}; tried again in an hour", words=words)

    def pending(self) -> int:
        """How many results are accepted and not delivered yet."""
        return len(self._queues)

    def startService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when what an earlier run left is known and on its way."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        # Collections among 100,000 new results are 20-50 ms each, and find nothing.
        gc.disable()
        try:
            entries = await self._read_earlier()
        finally:
            gc.enable()
        super().startService()
        if entries:
            _log.info("{count} task results of an earlier run are to be delivered", count=len(entries))
        self._queues.add(entries)

    async def _read_earlier(self) -> list[Entry]:
        entries = await self._outbox.open()
        for start in range(0, len(entries), SORTED_AT_ONCE):
            if start:
                await deferLater(self._clock, 0)
            self._size += sum(size_of(entry.result) for entry in entries[start : start + SORTED_AT_ONCE])
        if len(entries) > SORTED_AT_ONCE:
            gc.freeze()  # they live long: no later collection is to walk through them
        return entries

    async def _flush_and_close(self) -> None:
        super().stopService()
        self._pace.stop()
        self._queues.stop_pauses()
        flushed = Deferred.fromCoroutine(self._flush())
        await flushed.addTimeout(FLUSH_LIMIT, self._clock).addErrback(lambda _: None)
        self._closed = True
        self._queues.stop()
        self._storage.close()
        await self._outbox.close()
        if self.pending():
            _log.info("{count} task results are kept for the next run", count=self.pending())

    async def _flush(self) -> None:
        while len(self._in_flight):
            await self._in_flight.drained()
            await deferLater(self._clock, 0)  # the end of the last delivery may have begun others

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the outbox is closed; what was not delivered is in it."""
        return Deferred.fromCoroutine(self._flush_and_close())

    def put(self, results: Sequence[TaskResult]) -> Deferred[None]:
        """Accept results: see `IReports`."""
        if not results:
            return succeed(None)
        size = sum(map(size_of, results))
        if self._size + size > self._limits.size:
            self._metrics.results_dropped.labels("outbox full").inc(len(results))
            return fail(
                OutboxFullError(f"{self.pending()} task results wait for delivery, no more are taken")
            )
        self._size += size
        node_id = self._identity.node_id
        accepting = self._storage.do(lambda: self._outbox.append(node_id, results))
        return accepting.addCallbacks(self._queues.add, self._not_accepted, errbackArgs=(size,))

    def _not_accepted(self, failure: Failure, size: int) -> Failure:
        self._size -= size
        return failure

    def _pump(self) -> None:
        if self._pumping:
            return  # called from inside the loop below, which goes on by itself
        self._pumping = True
        while not self._closed and self._pace.may_begin(len(self._in_flight)):
            entry = self._queues.take()
            if entry is None:
                break
            delivery = Deferred.fromCoroutine(self._deliver(entry))
            delivery.addErrback(self._unexpected, entry.result.task_id)
            self._in_flight.add(delivery).addCallback(lambda _: self._pump())
        self._pumping = False

    def _unexpected(self, failure: Any, task_id: str) -> None:
        if self._closed:
            return
        _log.failure("a task result could not be handled", failure)
        self._try_later(task_id)

    async def _deliver(self, entry: Entry) -> None:
        begun = self._pace.begin()
        verdict, words = await self._try(entry)
        if self._closed:
            return  # the outbox is closed: the next run delivers it again
        task_id = entry.result.task_id
        hopeless = verdict is Verdict.RETRY and self._is_hopeless(task_id)
        self._metrics.reports.labels(PUT_ASIDE if hopeless else verdict.value).inc()
        if verdict is Verdict.UNAVAILABLE:
            self._pace.failed(begun)
        elif verdict is Verdict.RETRY:
            self._pace.not_taken(begun, task_id)
        else:
            self._pace.well()
        if verdict in (Verdict.TAKEN, Verdict.REFUSED) or hopeless:
            await self._settle(entry, verdict, words)
        else:
            self._keep(task_id, verdict, words)

    def _is_hopeless(self, task_id: str) -> bool:
        """Count a response that did not take a result, and say whether there were enough of them."""
        now = self._clock.seconds()
        tries = self._tries_of(task_id)
        if not tries.responses:
            tries.since = now
        tries.responses += 1
        return tries.responses >= self._limits.tries and now - tries.since >= self._limits.patience

    def _keep(self, task_id: str, verdict: Verdict, words: str) -> None:
        # One result that is never taken, among others that are, is told once.
        if verdict is Verdict.UNAVAILABLE or self._tries_of(task_id).responses == 1:
            self._say_once(f"kept for later: {words}", warn=True)
        self._try_later(task_id)

    def _try_later(self, task_id: str) -> None:
        if self.running:
            self._queues.pause(task_id, self._tries_of(task_id).backoff.pause())

    def _tries_of(self, task_id: str) -> _Tries:
        tries = self._tries.get(task_id)
        if tries is None:
            tries = self._tries[task_id] = _Tries(Backoff(self._chance))
        return tries

    async def _settle(self, entry: Entry, verdict: Verdict, words: str) -> None:
        """Take a result out of the outbox, and go on with the next one of its task."""
        task_id = entry.result.task_id
        if verdict is Verdict.TAKEN:
            self.delivered += 1
            self._say_once(f"delivered to {self._identity.server.base_url}")
            await self._storage.do(lambda: self._outbox.remove([entry.seq]))
        else:
            self._log_put_aside(task_id, verdict, words)
            await self._storage.do(lambda: self._outbox.refuse(entry, words))
        self._tries.pop(task_id, None)
        self._size -= size_of(entry.result)
        self._queues.done(task_id)

    def _log_put_aside(self, task_id: str, verdict: Verdict, words: str) -> None:
        if verdict is Verdict.REFUSED:
            _log.error("the result of task {task_id} is refused: {words}", task_id=task_id, words=words)
            return
        tries = self._tries_of(task_id)
        _log.error(
            "the result of task {task_id} is put aside: the control plane responded to {tries} tries"
            " in {minutes} minutes and did not take it: {words}",
            task_id=task_id,
            tries=tries.responses,
            minutes=round((self._clock.seconds() - tries.since) / 60),
            words=words,
        )

    async def _try(self, entry: Entry) -> tuple[Verdict, str]:
        result = entry.result
        server = self._identity.server.base_url
        if not server:
            return Verdict.UNAVAILABLE, "no control plane address yet"

        def form(generation: int) -> dict[str, Any]:
            return report_request(generation, entry.node_id, result)

        try:
            exchange = await self._client.call(server, PATH, form, REQUEST_TIMEOUT)
        except CancelledError:
            raise
        except Exception as error:
            return Verdict.UNAVAILABLE, describe(error)
        response = exchange.response
        words = response.body[:200].decode("utf-8", "replace")
        return judge(exchange), f"HTTP status {response.status}: {words}"

    def _say_once(self, text: str, warn: bool = False) -> None:
        """Log what has changed since the last delivery, not each of them."""
        if text != self._said:
            self._said = text
            (_log.warn if warn else _log.info)("task results are {text}", text=text)
