"""Timer triggers: cron expressions that become events, each at its own second."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from math import isfinite
from typing import Any

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.config import TimerSettings
from scfd.deferreds import InFlight
from scfd.errors import PluginUnavailableError
from scfd.events.event import Later, TriggerEvent
from scfd.events.tasks import TaskSnapshot, TaskStore
from scfd.events.wire import rfc3339, to_json
from scfd.interfaces import ITrigger
from scfd.status.context import Context
from scfd.triggers.timer.cron import Cron
from scfd.triggers.timer.jobs import TimerPayload, timer_payload
from scfd.triggers.timer.moments import Schedule, Schedules
from scfd.triggers.timer.standstill import LONGEST_WAIT, Standstill

_log = Logger(namespace="scfd.timer")

#: Seconds: a fire that comes later than this is a missed one.
LATE = 1.0
#: Events that a trigger makes before something else has its turn: 1 ms; and seconds, where a plugin is slow.
CALLED_AT_ONCE, CALLING = 50, 0.005
#: Seconds that fires may take before something else has its turn: some hundred of them.
FIRING = 0.005
#: Events of one trigger that may wait for their turn.
LONGEST_QUEUE = 10_000


@define(eq=False)
class _Entry:
    """
    One trigger.

    :ivar running: events that are under way.
    :ivar waiting: (moment, number of missed fires it makes up for) of each event that waits for its turn.
    :ivar calling: whether those that wait are being called.
    :ivar skipped: fires that were skipped since the last event ended.
    :ivar paused: whether an operator has stopped it.
    """

    trigger: TimerSettings
    running: int = 0
    waiting: deque[tuple[datetime, int]] = field(factory=deque)
    skipped: int = 0
    calling: bool = False
    paused: bool = False


class _Turn:
    """The reactor's turn, in which fires may take `FIRING`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._end = clock.seconds() + FIRING

    def is_over(self) -> bool:
        return self._clock.seconds() >= self._end

    async def next(self) -> None:
        await deferLater(self._clock, 0)
        self._end = self._clock.seconds() + FIRING


@implementer(ITrigger)
class Timers(Service):
    """
    All timer triggers of a node.

    Triggers with the same expression share its moments. Nothing fires for the time before the start.

    :param dispatch: see `ITrigger`.
    :param availability: of the plugin: what falls due while it can't take events, or the disk takes no
        results of them, is missed, and made up by each trigger's misfire rule later.
    :param zone: the one that expressions without a zone of their own are read in.
    :param now: the wall clock, seconds since the epoch.
    :param clock: a monotonic one.
    """

    def __init__(
        self,
        triggers: Iterable[TimerSettings],
        dispatch: Callable[[TriggerEvent], Deferred[None]],
        task_store: TaskStore,
        zone: tzinfo,
        context: Context,
    ) -> None:
        sharing: dict[tuple[Cron, tzinfo | None], list[_Entry]] = defaultdict(list)
        for trigger in triggers:
            sharing[trigger.cron, trigger.timezone].append(_Entry(trigger))
        schedules = [Schedule(cron, where or zone, entries) for (cron, where), entries in sharing.items()]
        self._entries = {
            entry.trigger.name: (entry, schedule) for schedule in schedules for entry in schedule.entries
        }
        self._schedules = Schedules(schedules, context.reactor)
        self._dispatch = dispatch
        self._task_store = task_store
        self._metrics = context.metrics
        self._needed = (context.availability, context.disk)
        self._now = context.now
        self._clock = context.reactor
        self._standstill = Standstill(context.reactor.seconds)
        self._in_flight = InFlight()
        #: Those with fires that wait for the plugin.
        self._held_back: dict[_Entry, None] = {}
        #: Those with more fires to call than may be at once.
        self._to_call: dict[_Entry, None] = {}
        for needed in self._needed:
            needed.watch(self._available_again)

    def startService(self) -> None:
        super().startService()
        now = self._now()
        self._standstill.start(now)
        self._schedules.start(now)

    def stopService(self) -> None:
        super().stopService()
        self._schedules.stop()

    def drain(self) -> Deferred[None]:
        """Stop firing: see `IDrainable`. Events that wait for their turn are dropped."""
        self.running = False
        return self._in_flight.drained()

    def names(self) -> Iterable[str]:
        """See `ITrigger`; likewise what follows."""
        return self._entries.keys()

    def state(self, name: str) -> dict[str, Any]:
        entry, schedule = self._entries[name]
        trigger = entry.trigger
        return {
            "type": "timer",
            "cron": trigger.cron.expression,
            "timezone": trigger.timezone.key if trigger.timezone is not None else "",
            "next": rfc3339(schedule.due) if isfinite(schedule.due) else None,
            "running": entry.running,
            "waiting": len(entry.waiting),
            "paused": entry.paused,
        }

    def event(
        self, name: str, payload: Any, tasks: Iterable[str] | None, metadata: Mapping[str, str]
    ) -> TriggerEvent:
        trigger, snapshot = self._entries[name][0].trigger, self._task_store.snapshot
        if tasks is not None:
            snapshot = _only(snapshot, frozenset(tasks))
        own = TimerPayload(snapshot, None if snapshot.jobs is None else snapshot.intervals)
        now = rfc3339(round(self._now(), 3))
        event = evolve(_event(trigger, own, now, {"fired_by": "operator", **metadata}), snapshot=snapshot)
        if payload is None:
            return event
        return evolve(event, payload=payload, payload_json=to_json(payload), jobs_json=())

    def pause(self, name: str) -> None:
        self._entries[name][0].paused = True
        _log.warn("{trigger}: paused by an operator", trigger=name)

    def resume(self, name: str) -> None:
        entry, _ = self._entries[name]
        entry.paused = False
        _log.warn("{trigger}: resumed by an operator", trigger=name)
        self._call_waiting(entry)

    def tick(self, now: float) -> None:
        """
        Fire everything that fell due since the last tick.

        :param now: seconds since the epoch.
        """
        if not self.running:
            return
        stood_still = self._standstill.look(now)
        if self._standstill.set_back:
            self._schedules.start(now)
        if not self._is_possible():
            return
        self._call_held_back()
        due = self._schedules.take_due(now)
        if due:
            self._in_flight.add(Deferred.fromCoroutine(self._fire_due(due, now, stood_still)))
        else:
            self._standstill.tell(0)

    def next_tick(self, now: float) -> float:
        """
        For a clock that nobody sets: `tick` has nothing to do before.

        :param now: seconds since the epoch, like what it returns.
        """
        if self._held_back or not self._is_possible():
            return now + 1
        return max(self._schedules.next_due(), now + 1)

    def skipped(self, seconds: float) -> None:
        """Take the last tick to have been so long ago: those since then had nothing to do."""
        self._standstill.start(self._now() - seconds, ago=seconds)

    async def _fire_due(self, due: list[Schedule], now: float, stood_still: bool) -> None:
        """Fire at once what takes no longer than `FIRING`, the rest in steps: everything else goes on."""
        missed, turn = 0, _Turn(self._clock)
        done: list[Schedule] = []
        for schedule in due:
            try:
                steps = schedule.take(now)
                while not (moments := next(steps)) and self.running:
                    await turn.next()
                on_time = bool(moments) and not stood_still and now - moments[-1].timestamp() <= LATE
                for entry in schedule.entries if self.running else ():
                    self._fire(entry, moments, on_time, now)
                    missed += len(moments) - on_time
                    if turn.is_over():
                        await turn.next()
            except Exception:
                _log.failure("timers could not be fired")
            if self._now() < now - LONGEST_WAIT:  # set back meanwhile
                schedule.start(self._now())
            done.append(schedule)
            if turn.is_over():
                self._schedules.put_back(done)
                done.clear()
                await turn.next()
        self._schedules.put_back(done)
        self._standstill.tell(missed)

    def _fire(self, entry: _Entry, moments: list[datetime], on_time: bool, now: float) -> None:
        """Apply a trigger's misfire rule: the last of the moments is on time, or all are missed."""
        if entry.paused:
            self._count_skipped(entry.trigger.name, "paused", len(moments))
            return
        missed, current = (moments[:-1], moments[-1:]) if on_time else (moments, [])
        made_up = self._to_make_up(entry.trigger, missed, now)
        if entry.trigger.misfire == "all":
            self._queue(entry, [(moment, 1) for moment in made_up])
        elif made_up:
            # In turn, as it stands for more than itself: a process that was frozen in the middle of
            # an event finds that one under way still.
            self._queue(entry, [((current or made_up)[-1], len(made_up))])
            return
        for moment in current:
            self._submit(entry, moment)

    def _to_make_up(self, trigger: TimerSettings, missed: list[datetime], now: float) -> list[datetime]:
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

    def _queue(self, entry: _Entry, fires: list[tuple[datetime, int]]) -> None:
        """Have fires made in turn, each after the one before has ended."""
        surplus = max(0, len(entry.waiting) + len(fires) - LONGEST_QUEUE)
        self._count_skipped(entry.trigger.name, "queue full", surplus)
        entry.waiting.extend(fires)
        for _ in range(surplus):
            entry.waiting.popleft()
        self._call_waiting(entry)

    def _submit(self, entry: _Entry, moment: datetime) -> None:
        """Apply the overlap rule to a fire that is on time."""
        name, overlap = entry.trigger.name, entry.trigger.overlap
        if overlap == "allow" or not (entry.running or entry.waiting):
            self._call(entry, moment, 0)
        elif overlap == "queue" or not entry.running:
            self._queue(entry, [(moment, 0)])
        else:
            self._count_skipped(name, "overlap", 1)
            entry.skipped += 1
            if entry.skipped == 1:
                _log.warn("{trigger}: its last event is still under way; this fire is skipped", trigger=name)

    def _call(self, entry: _Entry, moment: datetime, missed: int) -> None:
        trigger = entry.trigger
        payload = timer_payload(self._task_store.snapshot, moment)
        if trigger.jobs_only and not payload.jobs:
            self._count_skipped(trigger.name, "no jobs", 1)
            return
        more = {"missed_fires": str(missed)} if missed else {}
        self._metrics.timer_lateness.labels(trigger.name).observe(max(0.0, self._now() - moment.timestamp()))
        event = _event(trigger, payload, rfc3339(moment), more)
        dispatched = self._in_flight.add(self._dispatch(event))
        entry.running += 1
        dispatched.addErrback(self._failed, entry, moment, missed).addCallback(self._ended, entry)

    def _failed(self, failure: Failure, entry: _Entry, moment: datetime, missed: int) -> None:
        """The dispatcher has counted and logged it; a timer goes on with its next fire."""
        if not failure.check(PluginUnavailableError):
            return
        # The plugin saw nothing of it: a missed fire like those that fall due until it is back.
        if entry.trigger.misfire == "skip":
            self._count_skipped(entry.trigger.name, "misfire", 1)
        else:
            entry.waiting.appendleft((moment, missed or 1))
            # Until the next tick at least: it would be tried without end while nobody says that it is away.
            self._held_back[entry] = None

    def _is_possible(self) -> bool:
        return all(needed.available for needed in self._needed)

    def _available_again(self, _: bool) -> None:
        if self._is_possible():
            self._call_held_back()

    def _call_held_back(self) -> None:
        held_back, self._held_back = self._held_back, {}
        for entry in held_back:
            self._call_waiting(entry)

    def _ended(self, _: Any, entry: _Entry) -> None:
        entry.running -= 1
        if entry.skipped > 1:
            _log.warn(
                "{trigger}: {count} fires were skipped while an event was under way",
                trigger=entry.trigger.name,
                count=entry.skipped,
            )
        entry.skipped = 0
        self._call_waiting(entry)

    def _call_waiting(self, entry: _Entry) -> None:
        if entry.calling:
            return  # an event that has ended at once; the loop below goes on by itself
        entry.calling = True
        until = self._clock.seconds() + CALLING
        try:
            for _ in range(CALLED_AT_ONCE):
                if not entry.waiting or entry.running or entry.paused or not self.running:
                    return
                if entry in self._held_back:
                    return
                if not self._is_possible():
                    self._held_back[entry] = None
                    return
                self._call(entry, *entry.waiting.popleft())
                if self._clock.seconds() > until:
                    break
        finally:
            entry.calling = False
        self._call_later(entry)

    def _call_later(self, entry: _Entry) -> None:
        """One trigger at a time goes on, so that all of them together don't hold the reactor."""
        if not self._to_call:
            self._clock.callLater(0, self._call_next)
        self._to_call[entry] = None

    def _call_next(self) -> None:
        entry = next(iter(self._to_call))
        del self._to_call[entry]
        if self._to_call:
            self._clock.callLater(0, self._call_next)
        self._call_waiting(entry)


def _event(trigger: TimerSettings, payload: TimerPayload, at: str, more: Mapping[str, str]) -> TriggerEvent:
    """:param more: metadata."""
    return TriggerEvent(
        "timer",
        trigger.name,
        Later(payload.value),
        {"granularity": trigger.cron.granularity, "fire_time": at, **more},
        payload_json=payload.parts,
        timeout=trigger.timeout,
        jobs_json=payload.jobs,
        intervals=payload.intervals,
    )


def _only(snapshot: TaskSnapshot, ids: frozenset[str]) -> TaskSnapshot:
    """
    A task list of some tasks of another.

    :raises ValueError: one of them is not in it, or not valid.
    """
    strangers = sorted(ids - snapshot.ids)
    if strangers:
        known = f"such as {min(snapshot.ids)!r}" if snapshot.ids else "but there is none now"
        raise ValueError(f"tasks: found {strangers[0]!r}; expected ids of valid tasks, {known}")
    return TaskSnapshot(tuple(task for task in snapshot.tasks if task["task_id"] in ids))
