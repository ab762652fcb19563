"""A NATS trigger: binds its consumer, pulls messages, and starts over whenever that ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.config import NatsSettings
from scfd.events.event import TriggerEvent
from scfd.events.wire import to_json
from scfd.interfaces import ITrigger
from scfd.status.context import Context
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer import Consumer
from scfd.triggers.nats.consumer_config import filters_of
from scfd.triggers.nats.dead_letter import Letters
from scfd.triggers.nats.deliveries import Deliveries
from scfd.triggers.nats.jetstream import BindError, LostError, reason
from scfd.triggers.nats.pulls import Pulls, PullTerms

_log = Logger(namespace="scfd.nats")

_ADVICE = "look at the NATS server, its stream and consumer, and the rights of this user; the node tries on"

# Seconds.
#: Before the consumer is bound again, after it was lost or could not be bound.
RETRY_PAUSE = 0.5
#: The same, after tries that failed in a row for what only an operator can mend.
LONGEST_RETRY_PAUSE = 5.0
#: Between two checks of the pull requests.
LOOK_INTERVAL = 1.0
#: Between two questions to the server about the consumer.
LAG_INTERVAL = 10.0
#: The same, while the consumer is paused: an operator may resume it any time.
PAUSED_INTERVAL = 2.0
#: Between two extensions of the messages here, at the least, whatever the consumer's ack_wait is.
SHORTEST_EXTEND_INTERVAL = 0.05


@implementer(ITrigger)
class NatsTrigger(Service):
    """
    Makes events of the messages of one durable pull consumer.

    A missing server, stream or consumer does not end it: it logs that once, reports "not ready" and
    keeps trying.

    :param deliveries: gets each message; its ``room`` is set here.
    :ivar letters: the dead letters, where the config has a subject for them.
    """

    def __init__(
        self,
        settings: NatsSettings,
        connection: Connection,
        consumer: Consumer,
        deliveries: Deliveries,
        context: Context,
        letters: Letters | None = None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._consumer = consumer
        self._deliveries = deliveries
        self.letters = letters
        deliveries.room = self._top_up
        self._readiness = context.readiness
        self._availability = context.availability
        self._clock = context.reactor
        self._held_bytes = context.metrics.nats_held_bytes.labels(settings.name)
        self._component = f"nats trigger {settings.name}"
        self._pulls: Pulls | None = None
        self._pin = ""
        self._enough = 0
        self._changed: Deferred[None] | None = None
        self._running: Deferred[None] = succeed(None)
        self._looking_at_lag: Deferred[None] = succeed(None)
        self._next_lag = 0.0
        self._extending = self._loop(deliveries.extend)
        self._looking = self._loop(self._look)
        self._draining = self._paused = False
        #: What is wrong, as it was last logged; None while all is well.
        self._problem: str | None = None
        #: Whether the consumer was lost before it gave any sign of life, and how often in a row.
        self._unproven, self._failures = False, 0

    def startService(self) -> None:
        super().startService()
        self._problem = "not connected yet"
        self._readiness.problem(self._component, self._problem, "wait; it is just connecting")
        self._connection.watch(self._disconnected)
        self._availability.watch(lambda _: self._may_have_changed())
        self._deliveries.set_ready(self._may_consume)
        self._looking.start(LOOK_INTERVAL, now=False)
        self._extend_in_time()
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._run_failed)

    def names(self) -> tuple[str]:
        """See `ITrigger`; likewise what follows."""
        return (self._settings.name,)

    def state(self, name: str) -> dict[str, Any]:
        settings, consumer = self._settings, self._consumer
        return {
            "type": "nats",
            "stream": settings.stream,
            "subject": ", ".join(settings.filters),
            "consumer": settings.consumer_name,
            "pending": consumer.pending,
            "held": self._deliveries.held,
            "problem": self._problem,
            "paused": self._paused,
        }

    def event(
        self, name: str, payload: Any, tasks: Iterable[str] | None, metadata: Mapping[str, str]
    ) -> TriggerEvent:
        if payload is None and not metadata:  # a message that is handled once more may be null
            raise ValueError("expected a payload: the message to be handled")
        if tasks is not None:
            raise ValueError("found tasks; expected none: a message has no tasks of its own")
        settings = self._settings
        own = {"subject": next(iter(settings.filters), ""), "stream": settings.stream, "fired_by": "operator"}
        return TriggerEvent(
            "nats",
            name,
            payload,
            {**own, **metadata},
            payload_json=to_json(payload),
            timeout=settings.timeout,
            beside=settings.tasks,
        )

    def pause(self, name: str) -> None:
        self._set_paused(True)

    def resume(self, name: str) -> None:
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused
        _log.warn(
            "{trigger}: {what} by an operator",
            trigger=self._settings.name,
            what="paused" if paused else "resumed",
        )
        self._may_have_changed()

    @property
    def _may_consume(self) -> bool:
        return self._availability.available and not self._paused

    def drain(self) -> Deferred[None]:
        """Stop pulling, finish the running messages, give the others back: see `IDrainable`."""
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        self._draining = True
        self._deliveries.begin_no_more()
        await self._end_run()
        await self._deliveries.empty()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._draining = True
        self._deliveries.begin_no_more()
        self._deliveries.interrupt()
        await self._end_run()
        await self._deliveries.empty()
        for loop in (self._extending, self._looking):
            if loop.running:
                loop.stop()

    def _end_run(self) -> Deferred[None]:
        """:returns: a Deferred that fires when nothing is pulled any more."""
        ended: Deferred[None] = Deferred()
        self._running.addBoth(lambda _: ended.callback(None))
        self._running.cancel()
        self._looking_at_lag.cancel()
        return ended

    def _loop(self, function: Callable[[], object]) -> LoopingCall:
        def survive() -> None:
            try:
                function()
            except Exception:
                _log.failure("{trigger}: a periodic task failed and goes on", trigger=self._settings.name)

        loop = LoopingCall(survive)
        loop.clock = self._clock
        return loop

    def _extend_in_time(self) -> None:
        """Extend messages four times in the consumer's ack_wait, which an operator may change any time."""
        interval = max(self._consumer.terms.ack_wait / 4, SHORTEST_EXTEND_INTERVAL)
        if self._extending.running and interval != self._extending.interval:
            self._extending.stop()
        if not self._extending.running:
            self._extending.start(interval, now=False)

    async def _run(self) -> None:
        while not self._draining:
            try:
                await self._connection.up()
                self._deliveries.acknowledged.bound(await self._consumer.bind())
                self._bound()
                await self._consume()
            except CancelledError:
                raise
            except Exception as error:
                known = self._unproven and self._problem is not None
                if not (known and isinstance(error, LostError)):  # lost in the same way as before
                    self._not_well(reason(error))
                if isinstance(error, BindError) or self._unproven:
                    self._failures += 1
                if self._connection.connected:
                    pause = min(RETRY_PAUSE * 2 ** min(self._failures, 10), LONGEST_RETRY_PAUSE)
                    await deferLater(self._clock, pause * random.uniform(0.5, 1.0))

    def _run_failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("{trigger}: ended", failure, trigger=self._settings.name)

    async def _consume(self) -> None:
        """Pull messages while the plugin is available. Ends with `LostError`."""
        while True:
            if not self._may_consume:
                await self._change()
                continue
            terms = PullTerms.of(self._settings, self._consumer.config, self._connection.max_payload)
            pulls = Pulls(
                self._connection, terms, self._received, self._top_up, self._pulls_lost, self._clock
            )
            pulls.pin = self._pin
            await pulls.start()
            self._pulls = pulls
            try:
                self._top_up()
                await self._change()
            finally:
                self._pulls = None
                self._pin = pulls.pin
                await pulls.stop()

    def _change(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the availability changes, and fails with `LostError`."""
        self._changed = Deferred()
        return self._changed

    def _received(self, message: Message) -> None:
        self._deliveries.received(message)
        if self._pulls is not None and self._pulls.requested <= self._enough:
            self._top_up()

    def _top_up(self) -> None:
        """Ask for as many messages as there is room for, in requests of several where possible."""
        pulls = self._pulls
        if pulls is None:
            return
        ahead = self._deliveries.ahead()
        most = self._settings.concurrency + ahead
        missing = most - self._deliveries.held - pulls.requested
        few = max(1, ahead // 2)
        self._enough = most - few
        if missing >= few:
            pulls.ask(missing, self._deliveries.held_bytes)

    def _look(self) -> None:
        self._held_bytes.set(self._deliveries.held_bytes)
        pulls = self._pulls
        if pulls is None:
            return
        pulls.look()
        self._deliveries.acknowledged.look()
        self._top_up()
        if pulls.alive and (self._unproven or self._failures):
            self._unproven, self._failures = False, 0
            self._bound()
        now = self._clock.seconds()
        if now >= self._next_lag and self._looking_at_lag.called:
            interval = PAUSED_INTERVAL if self._consumer.paused else LAG_INTERVAL
            self._next_lag = now + interval * random.uniform(0.8, 1.2)
            self._looking_at_lag = Deferred.fromCoroutine(self._look_at_lag(pulls))
            self._looking_at_lag.addErrback(self._no_lag)

    async def _look_at_lag(self, pulls: Pulls) -> None:
        why = await self._consumer.look(pulls.arrived, bool(pulls.requested))
        if pulls is not self._pulls:
            return
        if why is not None:
            self._lost(why)
        else:
            self._bound()

    def _no_lag(self, failure: Failure) -> None:
        # The pull requests notice by themselves when the server is gone.
        _log.debug(
            "{trigger}: {error}",
            trigger=self._settings.name,
            error=reason(cast(BaseException, failure.value)),
        )

    def _pulls_lost(self, why: str) -> None:
        self._unproven = self._pulls is not None and not self._pulls.alive
        self._lost(why)

    def _lost(self, why: str) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.called:
            self._consumer.rebinds.inc()
            changed.errback(LostError(why))

    def _disconnected(self) -> None:
        if not self._draining:
            self._not_well(self._connection.reason)
        self._lost(self._connection.reason)

    def _may_have_changed(self) -> None:
        self._deliveries.set_ready(self._may_consume)
        changed, self._changed = self._changed, None
        if changed is not None and not changed.called:
            changed.callback(None)

    def _bound(self) -> None:
        """The consumer has just been seen: report how it is."""
        self._extend_in_time()
        if self._unproven:
            if self._consumer.crowded:
                why = f"other nodes use up max_waiting of consumer {self._settings.consumer_name}"
                self._not_well(why, "raise the consumer's max_waiting, or run fewer nodes")
            return  # it looked well the last time, too
        if self._consumer.paused:
            why = f"consumer {self._settings.consumer_name} is paused until {self._consumer.paused}"
            self._not_well(
                why, f"nats consumer resume {self._settings.stream} {self._settings.consumer_name}"
            )
        elif self._problem is not None:
            self._problem = None
            self._readiness.well(self._component)
            _log.info(
                "{trigger}: consuming {subjects} of stream {stream} as {consumer}",
                trigger=self._settings.name,
                subjects=", ".join(filters_of(self._consumer.config)) or "all",
                stream=self._settings.stream,
                consumer=self._settings.consumer_name,
            )

    def _not_well(self, why: str, advice: str = _ADVICE) -> None:
        self._readiness.problem(self._component, why, advice)
        if why != self._problem:
            self._problem = why
            _log.warn("{trigger}: {reason}", trigger=self._settings.name, reason=why)
