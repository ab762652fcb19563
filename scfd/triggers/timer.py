"""Timer triggers: cron expressions that become events, each at its own second."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from scfd.availability import Availability
from scfd.config import TimerTrigger
from scfd.cron import Cron
from scfd.inflight import InFlight
from scfd.interfaces import ITrigger
from scfd.jobs import timer_payload
from scfd.metrics import Metrics
from scfd.model import TriggerEvent
from scfd.tasks import TaskStore
from scfd.triggers.standstill import Standstill
from scfd.wire import rfc3339

_log = Logger(namespace="scfd.timer")

#: Seconds: a fire that comes later than this is a missed one.
LATE = 1.0
#: Seconds between two moments of an expression, at least.
SHORTEST_PERIOD = 1.0
#: Moments of one expression that are looked at after a standstill; 1.6 s of CPU. A day has 86,400 seconds.
MOST_MISSED = 100_000
#: Events of one trigger that may wait for their turn.
LONGEST_QUEUE = 10_000


@define(eq=False)
class _Entry:
    """
    One trigger.

    :ivar running: events that are under way.
    :ivar waiting: (moment, fires missed that it stands for) of those that wait for their turn.
    """

    trigger: TimerTrigger
    running: int = 0
    waiting: deque[tuple[datetime, int]] = field(factory=deque)


class _Schedule:
    """
    The triggers that share one expression and one zone, and so their moments.

    :ivar due: the next moment, seconds since the epoch; infinity when there is none.
    """

    def __init__(self, cron: Cron, zone: tzinfo, entries: list[_Entry]) -> None:
        self.cron = cron
        self.entries = entries
        self.due = float("inf")
        self._zone = zone
        self._moments: Iterator[datetime] = iter(())
        self._next: datetime | None = None
        self._taken = False

    def start(self, now: float) -> None:
        """Begin after ``now``, seconds since the epoch."""
        self._moments = self.cron.moments_after(datetime.fromtimestamp(now, self._zone))
        self._advance()

    def _advance(self) -> None:
        self._next = next(self._moments, None)
        self.due = self._next.timestamp() if self._next is not None else float("inf")

    def take(self, now: float) -> list[datetime]:
        """
        `move_on` has to follow.

        :returns: every moment up to ``now`` that has not been taken; at least one when it is due.
        """
        if self._next is not None and now < self.due + SHORTEST_PERIOD:
            self._taken = True
            return [self._next]
        taken = self._walk(now)
        if len(taken) == MOST_MISSED:
            # More than can be looked at: go on shortly before now, with as long a time as those took.
            self.start(max(taken[-1].timestamp(), now - (taken[-1] - taken[0]).total_seconds() / 2))
            taken = self._walk(now) or taken[-1:]
            if self.due <= now:
                self.start(now)
        return taken

    def move_on(self) -> None:
        """
        Look for the moment after those that were taken.

        Apart from `take`, so that everything that is due is fired first: croniter takes 18 us.
        """
        if self._taken:
            self._taken = False
            self._advance()

    def _walk(self, now: float) -> list[datetime]:
        taken: list[datetime] = []
        while self._next is not None and self.due <= now and len(taken) < MOST_MISSED:
            taken.append(self._next)
            self._advance()
        return taken

    def __lt__(self, other: _Schedule) -> bool:
        return self.due < other.due


@implementer(ITrigger)
class Timers(Service):
    """
    All timer triggers of a node.

    Each distinct expression has its next moment in a heap, so that a tick at which nothing is due
    costs the same for one trigger and for ten thousand. Start-up does not fire for the past.

    :param dispatch: see `ITrigger`.
    :param availability: of the plugin: what falls due while it can't take events is missed, and made up
        by each trigger's misfire rule once it can.
    :param zone: the one that expressions without a zone of their own are read in.
    :param now: the wall clock, seconds since the epoch.
    :param monotonic: a clock that nobody sets, seconds.
    """

    def __init__(
        self,
        triggers: Iterable[TimerTrigger],
        dispatch: Callable[[TriggerEvent], Deferred[None]],
        task_store: TaskStore,
        metrics: Metrics,
        availability: Availability,
        zone: tzinfo,
        now: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        sharing: dict[tuple[Cron, tzinfo | None], list[_Entry]] = defaultdict(list)
        for trigger in triggers:
            sharing[trigger.cron, trigger.timezone].append(_Entry(trigger))
        self._heap = [_Schedule(cron, where or zone, entries) for (cron, where), entries in sharing.items()]
        self._dispatch = dispatch
        self._task_store = task_store
        self._metrics = metrics
        self._availability = availability
        self._now = now
        self._standstill = Standstill(monotonic)
        self._in_flight = InFlight()

    def startService(self) -> None:
        super().startService()
        now = self._now()
        self._standstill.start(now)
        for schedule in self._heap:
            schedule.start(now)
        heapq.heapify(self._heap)

    def drain(self) -> Deferred[None]:
        """Fire no more: see `IDrainable`. What waits for its turn is left out."""
        self.running = False
        return self._in_flight.drained()

    def tick(self, now: float) -> None:
        """
        Fire everything that fell due since the last tick.

        :param now: seconds since the epoch.
        """
        if not self.running:
            return
        stood_still = self._standstill.look(now)
        if not self._availability.available:
            return
        due = []
        while self._heap and self._heap[0].due <= now:
            due.append(heapq.heappop(self._heap))
        try:
            missed = sum(self._fire_all(schedule, now, stood_still) for schedule in due)
        finally:
            for schedule in due:
                schedule.move_on()
                heapq.heappush(self._heap, schedule)
        self._standstill.tell(missed)

    def _fire_all(self, schedule: _Schedule, now: float, stood_still: bool) -> int:
        """:returns: how many fires were missed."""
        moments = schedule.take(now)
        on_time = not stood_still and now - moments[-1].timestamp() <= LATE
        for entry in schedule.entries:
            self._fire(entry, moments, on_time, now)
        return (len(moments) - on_time) * len(schedule.entries)

    def _fire(self, entry: _Entry, moments: list[datetime], on_time: bool, now: float) -> None:
        """Apply a trigger's misfire rule: the last of the moments is on time, or all are missed."""
        missed, current = (moments[:-1], moments[-1:]) if on_time else (moments, [])
        made_up = self._to_make_up(entry.trigger, missed, now)
        if entry.trigger.misfire == "all":
            for moment in made_up:
                self._submit(entry, moment, 1, in_turn=True)
        elif made_up:
            # In turn, as it stands for more than itself: a process that was frozen in the middle of
            # an event finds that one under way still.
            self._submit(entry, (current or made_up)[-1], len(made_up), in_turn=True)
            return
        for moment in current:
            self._submit(entry, moment, 0, in_turn=False)

    def _to_make_up(self, trigger: TimerTrigger, missed: list[datetime], now: float) -> list[datetime]:
        if trigger.misfire == "skip":
            self._count_skipped(trigger.name, "misfire", len(missed))
            return []
        if trigger.misfire_grace is None:
            return missed
        recent = [moment for moment in missed if now - moment.timestamp() <= trigger.misfire_grace]
        self._count_skipped(trigger.name, "misfire grace", len(missed) - len(recent))
        return recent

    def _count_skipped(self, name: str, reason: str, count: int) -> None:
        if count:
            self._metrics.timer_skipped.labels(name, reason).inc(count)

    def _submit(self, entry: _Entry, moment: datetime, missed: int, in_turn: bool) -> None:
        """Apply a trigger's overlap rule; fires that are made up one by one wait for each other anyway."""
        name, overlap = entry.trigger.name, entry.trigger.overlap
        if not entry.running or (overlap == "allow" and not in_turn):
            self._call(entry, moment, missed)
        elif in_turn or overlap == "queue":
            if len(entry.waiting) == LONGEST_QUEUE:
                entry.waiting.popleft()
                self._count_skipped(name, "queue full", 1)
            entry.waiting.append((moment, missed))
        else:
            self._count_skipped(name, "overlap", 1)
            _log.warn("{trigger}: its last event is still under way; this fire is skipped", trigger=name)

    def _call(self, entry: _Entry, moment: datetime, missed: int) -> None:
        trigger = entry.trigger
        payload, encoded = timer_payload(self._task_store.snapshot, moment)
        if trigger.jobs_only and not payload.get("jobs"):
            self._count_skipped(trigger.name, "no jobs", 1)
            return
        metadata = {"granularity": trigger.cron.granularity, "fire_time": rfc3339(moment)}
        if missed:
            metadata["missed_fires"] = str(missed)
        self._metrics.timer_lateness.labels(trigger.name).observe(max(0.0, self._now() - moment.timestamp()))
        event = TriggerEvent(
            "timer", trigger.name, payload, metadata, payload_json=encoded, timeout=trigger.timeout
        )
        dispatched = self._in_flight.add(self._dispatch(event))
        entry.running += 1
        # The dispatcher has counted and logged a failure; a timer goes on with its next fire.
        dispatched.addErrback(lambda failure: None).addCallback(self._ended, entry)

    def _ended(self, _: Any, entry: _Entry) -> None:
        entry.running -= 1
        while entry.waiting and not entry.running and self.running:
            self._call(entry, *entry.waiting.popleft())
