"""
Task results on their way to the control plane: kept until delivered, in order per task.

``POST {server}/gateway/collectmgr/ReportTaskStatus``, one result each. A result is on disk before
it counts as accepted; the server's response decides whether it is delivered, refused for good, or
tried again.
"""

from __future__ import annotations

import gc
import random
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
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
from scfd.errors import OutboxFullError, StorageError, describe
from scfd.events.event import TaskResult
from scfd.identity import Identity
from scfd.interfaces import IReports
from scfd.reports.outbox import PENDING, PUT_ASIDE, Entry, Kept, Outbox
from scfd.reports.pace import Pace, Tries
from scfd.reports.put_aside import PutAside
from scfd.reports.queues import SORTED_AT_ONCE, TaskQueues
from scfd.reports.storage import DISK_ERRORS, Storage
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

PATH = "/collectmgr/ReportTaskStatus"
#: Names in ``/ready``.
_NONE_TAKEN, _FULL = "reports", "outbox"
#: Part of its limit below which an outbox that was full is so no longer.
_ROOM_AGAIN = 0.9
#: Seconds for one try.
REQUEST_TIMEOUT = 10.0
#: Seconds after which an outbox that nothing is written to is looked at.
LOOK_EVERY = 10
#: Tries in a row without a result being taken after which operators are told.
NONE_TAKEN = 5
#: Seconds that stopping waits for deliveries; what is left is on disk.
FLUSH_LIMIT = 3.0


def size_of(result: TaskResult) -> int:
    """Bytes that a result takes up while it waits, roughly: 200 besides its texts."""
    return 200 + len(result.task_id) + len(result.result)


@frozen
class ReportLimits:
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

    def is_hopeless(self, entry: Entry) -> bool:
        """Whether the control plane has responded to enough tries without taking it."""
        return entry.tries >= self.tries and entry.waited >= self.patience


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
        limits: ReportLimits,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._storage = Storage(context)
        self._client = client
        self.spans: Any = None  # as the dispatcher's
        self._identity = identity
        self._metrics = context.metrics
        self._clock = context.reactor
        self._limits = limits
        self._size = 0
        self._queues = TaskQueues(self._clock, self._pump)
        self._pace = Pace(self._clock, self._pump, chance)
        self._tries = Tries(self._clock, chance)
        self._put_aside = PutAside(context)
        self._readiness = context.readiness
        self._none_taken = 0
        self._discarded: set[int] = set()
        self._in_flight = InFlight()
        self._closed = self._pumping = False
        self._said = ""
        self.delivered = 0

    def tidy(self, now: float) -> Deferred[None]:
        """Keep the outbox small; called every hour."""
        return self._outbox.tidy().addCallbacks(self._put_aside.drop, self._not_tidied)

    def _not_tidied(self, failure: Failure) -> None:
        failure.trap(*DISK_ERRORS)
        self._metrics.storage_errors.inc()
        words = failure.getErrorMessage()
        _log.error("the outbox is not tidied: {words}; tried again in an hour", words=words)

    def look(self, now: float) -> None:
        """Notice a disk that hangs, and an outbox that somebody has deleted; called every second."""
        self._storage.look()
        if int(now) % LOOK_EVERY == 0 and self._storage.idle():
            self._storage.do(self._outbox.check).addErrback(self._not_kept)

    def pending(self) -> int:
        """How many results are accepted and not delivered yet."""
        return len(self._queues)

    def put_aside(self) -> int:
        """How many results the control plane refused or never took, and are kept for a person to look at."""
        return self._put_aside.count

    def startService(self) -> Deferred[None]:
        """
        :returns: a Deferred that fires when what an earlier run left is known and on its way, or when the
            disk does not give it: it is asked again then, and what is put waits. It fails with
            `StartupError` when the outbox can't be used for a reason that does not pass by itself.
        """
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        # Collections among 100,000 new results are 20-50 ms each, and find nothing.
        gc.disable()
        try:
            await self._read_earlier()
        finally:
            gc.enable()

    async def _read_earlier(self) -> None:
        try:
            entries = await self._outbox.open()
        except (sqlite3.OperationalError, OSError):
            super().startService()
            opening = self._storage.do(self._outbox.open).addCallback(self._take_over)
            opening.addErrback(self._not_kept)
        else:
            super().startService()
            await self._take_over(entries)

    def _take_over(self, entries: list[Entry]) -> Deferred[None]:
        if entries:
            _log.info("{count} task results of an earlier run are to be delivered", count=len(entries))
        # Before any delivery may put another one aside.
        self._storage.do(self._outbox.count_put_aside).addCallbacks(self._put_aside.add, self._not_kept)
        self._queues.add(entries)  # at once, before anything that comes later
        return Deferred.fromCoroutine(self._measure(entries))

    async def _measure(self, entries: list[Entry]) -> None:
        """The list is empty afterwards, freed in steps."""
        long = len(entries) > SORTED_AT_ONCE
        while entries:
            self._size += sum(size_of(entry.result) for entry in entries[-SORTED_AT_ONCE:])
            del entries[-SORTED_AT_ONCE:]
            if entries:
                await deferLater(self._clock, 0)
        if long:
            gc.freeze()  # they live long: no later collection is to walk through them

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
            text = f"{self.pending()} task results wait for delivery, no more are taken"
            self._readiness.problem(
                _FULL,
                text,
                "see why the control plane takes none (`scfd reports`), or raise system.outbox_limit",
            )
            return fail(OutboxFullError(text))
        self._size += size
        self._readiness.well(_FULL)
        node_id = self._identity.node_id
        accepting = self._storage.do(lambda: self._outbox.append(node_id, results))
        return accepting.addCallbacks(self._queues.add, self._not_accepted, errbackArgs=(size,))

    def _not_accepted(self, failure: Failure, size: int) -> Failure:
        self._size -= size
        return failure

    def _freed(self, entry: Entry) -> None:
        self._size -= size_of(entry.result)
        if self._size <= self._limits.size * _ROOM_AGAIN:
            self._readiness.well(_FULL)

    def kept(self, limit: int) -> Deferred[list[Kept]]:
        """:returns: a Deferred of the results that are pending or put aside, the oldest first."""
        return self._storage.do(lambda: self._outbox.kept(limit))

    async def retry(self, seqs: Sequence[int]) -> int:
        """
        Deliver results that were put aside after all; those that pause are tried now.

        :returns: how many of them there were.
        """
        entries = await self._storage.do(lambda: self._outbox.retry(seqs))
        self._size += sum(size_of(entry.result) for entry in entries)
        self._queues.add(entries)
        self._put_aside.add(-len(entries))
        return len(entries) + self._queues.hurry(frozenset(seqs))

    async def discard(self, seqs: Sequence[int]) -> int:
        """
        Forget results for good. The control plane may take one that is just on its way all the same.

        :returns: how many of them there were.
        """
        gone = await self._storage.do(lambda: self._outbox.discard(seqs))
        pending = {seq: task_id for seq, task_id, state in gone if state == PENDING}
        for entry in self._queues.discard(pending):
            del pending[entry.seq]
            self._tries.forget(entry)
            self._freed(entry)
        self._discarded.update(pending)  # they are on their way
        self._put_aside.add(-sum(state != PENDING for _, _, state in gone))
        return len(gone)

    def _pump(self) -> None:
        if self._pumping:
            return  # called from inside the loop below, which goes on by itself
        self._pumping = True
        while not self._closed and self._pace.may_begin(len(self._in_flight)):
            entry = self._queues.take()
            if entry is None:
                break
            delivery = Deferred.fromCoroutine(self._deliver(entry))
            delivery.addErrback(self._unexpected, entry)
            self._in_flight.add(delivery).addCallback(lambda _: self._pump())
        self._pumping = False

    def _unexpected(self, failure: Any, entry: Entry) -> None:
        if self._closed:
            return
        _log.failure("a task result could not be handled", failure)
        self._try_later(entry)

    async def _deliver(self, entry: Entry) -> None:
        begun = self._pace.begin()
        began = self._clock.seconds()
        verdict, words = await self._try(entry)
        if self.spans is not None:
            self.spans.tried(entry.result, self._clock.seconds() - began, verdict.value)
        if self._closed:
            return  # the outbox is closed: the next run delivers it again
        self._note_taken(verdict is Verdict.TAKEN, words)
        if verdict is Verdict.RETRY:
            entry = self._tries.not_taken(entry)
        hopeless = verdict is Verdict.RETRY and self._limits.is_hopeless(entry)
        self._metrics.reports.labels(PUT_ASIDE if hopeless else verdict.value).inc()
        if verdict is Verdict.UNAVAILABLE:
            self._pace.failed(begun)
        elif verdict is Verdict.RETRY:
            self._pace.not_taken(begun, entry.result.task_id)
        else:
            self._pace.well()
        if verdict in (Verdict.TAKEN, Verdict.REFUSED) or hopeless or entry.seq in self._discarded:
            await self._settle(entry, verdict, words)
        else:
            self._keep(entry, verdict, words)

    def _note_taken(self, taken: bool, words: str) -> None:
        self._none_taken = 0 if taken else self._none_taken + 1
        if taken:
            self._readiness.well(_NONE_TAKEN)
        elif self._none_taken >= NONE_TAKEN:
            self._readiness.warning(
                _NONE_TAKEN,
                f"none of the last {self._none_taken} tries was taken, the last one: {words}",
                "look at the control plane's log, whether it knows this node and these tasks; "
                "`scfd reports` has the results",
            )

    def _keep(self, entry: Entry, verdict: Verdict, words: str) -> None:
        # One result that is never taken, among others that are, is told once.
        if verdict is Verdict.UNAVAILABLE or entry.tries == 1:
            self._say_once(f"kept for later: {words}", warn=True)
        if verdict is Verdict.RETRY and not self._storage.failing:
            self._storage.do(lambda: self._outbox.note(entry, words)).addErrback(self._not_kept)
        self._try_later(entry)

    def _not_kept(self, failure: Failure) -> None:
        """Something that the next run can do without. What the disk refuses is said by the storage."""
        if not failure.check(StorageError):
            _log.failure("work on the outbox failed", failure)

    def _try_later(self, entry: Entry) -> None:
        if self.running:
            self._queues.pause(entry.result.task_id, self._tries.pause(entry))

    async def _settle(self, entry: Entry, verdict: Verdict, words: str) -> None:
        """Take a result out of the outbox, and go on with the next one of its task."""
        if entry.seq in self._discarded:
            self._discarded.discard(entry.seq)
        elif verdict is Verdict.TAKEN:
            self.delivered += 1
            self._say_once(f"delivered to {self._identity.server.base_url}")
            await self._storage.do(lambda: self._outbox.remove([entry.seq]))
        else:
            self._put_aside.say(entry, verdict, words)
            await self._storage.do(lambda: self._outbox.refuse(entry, words))
            self._put_aside.add(1)
        self._tries.forget(entry)
        self._freed(entry)
        self._queues.done(entry.result.task_id)

    async def _try(self, entry: Entry) -> tuple[Verdict, str]:
        result = entry.result
        server = self._identity.server.base_url
        if not server:
            return Verdict.UNAVAILABLE, "no control plane address yet"
        node_id = entry.node_id or self._identity.node_id
        if not node_id:
            return Verdict.UNAVAILABLE, "no node id yet, without which no control plane takes any"

        def form(generation: int) -> dict[str, Any]:
            return report_request(generation, node_id, result)

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
