"""
Task results on their way to the control plane: kept until delivered, in order per task.

``POST {server}/gateway/collectmgr/ReportTaskStatus``, one result each. A result is on disk before
it counts as accepted; the server's response decides whether it is delivered, refused for good, or
tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
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
from scfd.reports.storage import DISK_ERRORS, Storage
from scfd.status.context import Context

_log = Logger(namespace="scfd.reports")

PATH = "/collectmgr/ReportTaskStatus"
#: Seconds for one try.
REQUEST_TIMEOUT = 10.0
#: Tries under way at a time.
CONCURRENCY = 16
#: Seconds before the second try of a result; doubled before each further one, up to the longest.
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
#: Seconds that stopping waits for deliveries; what is left is on disk.
FLUSH_LIMIT = 3.0


def size_of(result: TaskResult) -> int:
    """Bytes that a result takes up while it waits, roughly: 200 besides its texts."""
    return 200 + len(result.task_id) + len(result.result)


@implementer(IReports)
class Reports(Service):
    """
    Takes results and delivers them.

    One result of a task is on its way at a time; its later ones wait behind it.

    :param limit: bytes of results that may wait, in memory as on disk. Past it further ones are not
        accepted: a message is delivered again later, a timer's results are lost, and counted.
    :ivar delivered: how many the control plane took since the start.
    """

    def __init__(
        self,
        outbox: Outbox,
        client: LearningClient,
        identity: Identity,
        context: Context,
        limit: int,
    ) -> None:
        self._outbox = outbox
        self._storage = Storage(context)
        self._client = client
        self._identity = identity
        self._metrics = context.metrics
        self._clock = context.reactor
        self._limit = limit
        self._taken = 0
        self._queues: dict[str, deque[Entry]] = {}
        self._ready: deque[str] = deque()
        self._pauses: dict[str, float] = {}
        self._waiting: dict[str, IDelayedCall] = {}
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
        return sum(len(queue) for queue in self._queues.values())

    def startService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when what an earlier run left is known and on its way."""
        return self._outbox.open().addCallback(self._opened)

    def _opened(self, entries: list[Entry]) -> None:
        super().startService()
        self._taken = sum(size_of(entry.result) for entry in entries)
        if entries:
            _log.info("{count} task results of an earlier run are to be delivered", count=len(entries))
        self._enqueue(entries)

    async def _flush_and_close(self) -> None:
        super().stopService()
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        flushed = Deferred.fromCoroutine(self._flush())
        await flushed.addTimeout(FLUSH_LIMIT, self._clock).addErrback(lambda _: None)
        self._closed = True
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
        if self._taken + size > self._limit:
            self._metrics.results_dropped.labels("outbox full").inc(len(results))
            return fail(
                OutboxFullError(f"{self.pending()} task results wait for delivery, no more are taken")
            )
        self._taken += size
        node_id = self._identity.node_id
        accepting = self._storage.do(lambda: self._outbox.append(node_id, results))
        return accepting.addCallbacks(self._enqueue, self._not_accepted, errbackArgs=(size,))

    def _not_accepted(self, failure: Failure, size: int) -> Failure:
        self._taken -= size
        return failure

    def _enqueue(self, entries: list[Entry]) -> None:
        for entry in entries:
            task_id = entry.result.task_id
            if task_id not in self._queues:
                self._queues[task_id] = deque()
                self._ready.append(task_id)
            self._queues[task_id].append(entry)
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            return  # called from inside the loop below, which goes on by itself
        self._pumping = True
        while self._ready and len(self._in_flight) < CONCURRENCY and not self._closed:
            task_id = self._ready.popleft()
            delivery = Deferred.fromCoroutine(self._deliver(self._queues[task_id][0]))
            delivery.addErrback(self._unexpected, task_id)
            self._in_flight.add(delivery).addCallback(lambda _: self._pump())
        self._pumping = False

    def _unexpected(self, failure: Any, task_id: str) -> None:
        if self._closed:
            return
        _log.failure("a task result could not be handled", failure)
        self._retry(task_id)

    async def _deliver(self, entry: Entry) -> None:
        task_id = entry.result.task_id
        outcome, words = await self._try(entry)
        if self._closed:
            return  # the outbox is closed: the next run delivers it again
        self._metrics.reports.labels(outcome.value).inc()
        if outcome in (Verdict.RETRY, Verdict.UNAVAILABLE):
            self._say_once(f"kept for later: {words}", warn=True)
            self._retry(task_id)
            return
        if outcome is Verdict.REFUSED:
            _log.error("the result of task {task_id} is refused: {words}", task_id=task_id, words=words)
            await self._storage.do(lambda: self._outbox.refuse(entry, words))
        else:
            self.delivered += 1
            self._say_once(f"delivered to {self._identity.server.base_url}")
            await self._storage.do(lambda: self._outbox.remove([entry.seq]))
        self._next(task_id)

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

    def _next(self, task_id: str) -> None:
        """Forget the first result of a task, and go on with its next one."""
        self._pauses.pop(task_id, None)
        queue = self._queues[task_id]
        self._taken -= size_of(queue.popleft().result)
        if queue:
            self._ready.append(task_id)
        else:
            del self._queues[task_id]

    def _retry(self, task_id: str) -> None:
        if not self.running:
            return
        pause = self._pauses.get(task_id, FIRST_BACKOFF)
        self._pauses[task_id] = min(pause * 2, LONGEST_BACKOFF)
        self._waiting[task_id] = self._clock.callLater(pause, self._again, task_id)

    def _again(self, task_id: str) -> None:
        del self._waiting[task_id]
        self._ready.append(task_id)
        self._pump()

    def _say_once(self, text: str, warn: bool = False) -> None:
        """Log what has changed since the last delivery, not each of them."""
        if text != self._said:
            self._said = text
            (_log.warn if warn else _log.info)("task results are {text}", text=text)
