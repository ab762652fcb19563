"""Timer triggers: cron expressions that become events, each at its own second."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from scfd.config import TimerTrigger
from scfd.cron import Cron
from scfd.inflight import InFlight
from scfd.interfaces import ITrigger
from scfd.jobs import timer_payload
from scfd.metrics import Metrics
from scfd.model import TriggerEvent
from scfd.tasks import TaskStore
from scfd.wire import rfc3339

_log = Logger(namespace="scfd.timer")


class _Schedule:
    """
    The triggers that share one cron expression, and so its moments.

    :ivar due: the next moment, seconds since the epoch; infinity when there is none.
    """

    def __init__(self, cron: Cron, names: Sequence[str]) -> None:
        self.cron = cron
        self.names = names
        self.due = float("inf")
        self._moments: Iterator[datetime] = iter(())
        self._next: datetime | None = None

    def start(self, now: datetime) -> None:
        self._moments = self.cron.moments_after(now)
        self._advance()

    def _advance(self) -> None:
        self._next = next(self._moments, None)
        self.due = self._next.timestamp() if self._next is not None else float("inf")

    def take(self, now: float) -> tuple[datetime, int]:
        """:returns: the last moment in the window that ends now, and how many came before it in there."""
        missed = -1
        moment = self._next
        while self.due <= now:
            moment = self._next
            missed += 1
            self._advance()
        assert moment is not None, "only a schedule that is due is taken"
        return moment, missed

    def __lt__(self, other: _Schedule) -> bool:
        return self.due < other.due


@implementer(ITrigger)
class Timers(Service):
    """
    All timer triggers of a node.

    Each distinct expression has its next moment in a heap, so that a tick at which nothing is due
    costs the same for one trigger and for ten thousand. Start-up does not fire for the past.

    :param dispatch: see `ITrigger`.
    :param zone: the one the expressions are read in.
    """

    def __init__(
        self,
        triggers: Iterable[TimerTrigger],
        dispatch: Callable[[TriggerEvent], Deferred[None]],
        task_store: TaskStore,
        metrics: Metrics,
        clock: IReactorTime,
        zone: tzinfo,
    ) -> None:
        names: dict[Cron, list[str]] = {}
        for trigger in triggers:
            names.setdefault(trigger.cron, []).append(trigger.name)
        self._heap = [_Schedule(cron, sharing) for cron, sharing in names.items()]
        self._dispatch = dispatch
        self._task_store = task_store
        self._metrics = metrics
        self._clock = clock
        self._zone = zone
        self._busy: set[str] = set()
        self._in_flight = InFlight()

    def startService(self) -> None:
        super().startService()
        now = datetime.fromtimestamp(self._clock.seconds(), self._zone)
        for schedule in self._heap:
            schedule.start(now)
        heapq.heapify(self._heap)

    def drain(self) -> Deferred[None]:
        """Fire no more: see `IDrainable`."""
        self.running = False
        return self._in_flight.drained()

    def tick(self, now: float) -> None:
        """
        Fire everything that fell due since the last tick.

        :param now: seconds since the epoch.
        """
        while self.running and self._heap and self._heap[0].due <= now:
            schedule = self._heap[0]
            moment, missed = schedule.take(now)
            heapq.heapreplace(self._heap, schedule)
            self._fire(schedule, moment, missed)

    def _fire(self, schedule: _Schedule, moment: datetime, missed: int) -> None:
        metadata = {"granularity": schedule.cron.granularity, "fire_time": rfc3339(moment)}
        if missed:
            metadata["missed_fires"] = str(missed)
            _log.warn(
                "{triggers}: {missed} fires were missed; one event stands for them all",
                triggers=", ".join(schedule.names[:3]),
                missed=missed,
            )
        payload, encoded = timer_payload(self._task_store.snapshot, moment)
        for name in schedule.names:
            self._metrics.timer_lateness.labels(name).observe(
                max(0.0, self._clock.seconds() - moment.timestamp())
            )
            self._call(name, TriggerEvent("timer", name, payload, metadata, payload_json=encoded))

    def _call(self, name: str, event: TriggerEvent) -> None:
        if name in self._busy:
            self._metrics.timer_skipped.labels(name, "overlap").inc()
            _log.warn("{trigger}: its last event is still under way; this fire is skipped", trigger=name)
            return
        self._busy.add(name)
        # The dispatcher has counted and logged a failure; a timer goes on with its next fire.
        self._in_flight.add(self._dispatch(event)).addErrback(lambda failure: None).addCallback(
            self._ended, name
        )

    def _ended(self, _: Any, name: str) -> None:
        self._busy.discard(name)
