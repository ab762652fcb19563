"""The messages that this node has been given and has neither acknowledged nor given back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.config import NatsSettings
from scfd.errors import EventError, PluginUnavailableError, StorageError, describe
from scfd.events.event import TriggerEvent
from scfd.events.trace import ids
from scfd.status.metrics import Metrics
from scfd.triggers.nats.acknowledged import Acknowledged
from scfd.triggers.nats.acks import Acks
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.consumer_config import most_ahead
from scfd.triggers.nats.message import Delivery, MessageEvent

_log = Logger(namespace="scfd.nats")

#: Seconds that a message waits for its turn in this node, about: more of them are better off with others.
LEAD = 0.1
#: Seconds that a message is thought to take as long as nothing is known of them.
FIRST_MEAN = 60.0
#: How much one message counts in the mean of how long they take.
_WEIGHT = 0.1
#: Seconds that messages wait for a plugin that can't take them, before other nodes get them; only where the
#: consumer has no ``max_deliver``, since each time a message is given back costs one of its deliveries.
LONGEST_WAIT = 60.0
#: Seconds until a message is tried again that did not reach the plugin, or whose results the disk refused.
POSTPONED = 1.0


class Deliveries:
    """
    Hands messages to the plugin, ``concurrency`` at a time and in the order in which they came, and
    acknowledges each or gives it back, by how that ended.

    :param dispatch: see `scfd.interfaces.ITrigger`.
    :param room: called when there is room for more.
    :ivar acknowledged: the messages that were acknowledged lately.
    :ivar ready: whether messages may be begun.
    :ivar held_bytes: bytes of the messages that are in work or wait for their turn.
    """

    def __init__(
        self,
        settings: NatsSettings,
        dispatch: Callable[[TriggerEvent], Deferred[None]],
        acks: Acks,
        metrics: Metrics,
        clock: IReactorTime,
        room: Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._dispatch = dispatch
        self._acks = acks
        self._clock = clock
        self.room = room
        self.acknowledged = Acknowledged()
        self._held: dict[str, Delivery] = {}
        self._waiting: deque[Delivery] = deque()
        self._running: dict[Delivery, Deferred[None]] = {}
        self._postponed: set[Delivery] = set()
        self._not_before = 0.0
        self._emptied: list[Deferred[None]] = []
        self._single = settings.ack == "single"
        self._mean = FIRST_MEAN
        self._unready_since = clock.seconds()
        self._redelivered = metrics.redeliveries.labels(settings.name)
        self._stopping = self._interrupted = False
        self.ready = False
        self.held_bytes = 0

    @property
    def held(self) -> int:
        """How many messages are in work or wait for their turn."""
        return len(self._held)

    def ahead(self) -> int:
        """How many messages are to wait for their turn: those that are begun within `LEAD` seconds."""
        if self._mean * most_ahead(self._settings) <= LEAD * self._settings.concurrency:
            return most_ahead(self._settings)
        return int(LEAD * self._settings.concurrency / self._mean)

    def received(self, message: Message) -> None:
        """Begin with a message, or keep it until its turn."""
        try:
            delivery = Delivery(message, self._acks.max_deliver)
        except (IndexError, ValueError):
            _log.error(
                "{trigger}: dropped a message that is no delivery of JetStream: subject {subject}, "
                "reply {reply}",
                trigger=self._settings.name,
                subject=message.subject,
                reply=message.reply,
            )
            return
        delivery.binding = self.acknowledged.binding
        if delivery.delivered > 1:
            self._redelivered.inc()
        acknowledged = self.acknowledged.has(delivery)
        if (held := self._held.get(delivery.key)) is not None:
            held.replaced_by(delivery)
        elif acknowledged:
            self._acks.ack_again(delivery)
        elif self._stopping and self._acks.can_give_back(delivery):
            self._acks.give_back(delivery)
        elif self._may_begin() and not self._waiting:
            self._begin(delivery)
        else:
            self._hold(delivery)
            self._waiting.append(delivery)

    def sees_to(self, sequence: int, delivered: int) -> bool:
        """
        The server delivers a message no more, after so many deliveries.

        :returns: whether this node has handled it, or has it still and decides about its dead letter.
        """
        for delivery in self._held.values():
            if delivery.sequence == sequence:
                delivery.delivered = max(delivery.delivered, delivered)
                return True
        return self.acknowledged.knows(sequence) or self._acks.has_failed(sequence)

    def set_ready(self, ready: bool) -> None:
        """Say whether the plugin can take messages."""
        self.ready = ready
        self._not_before = 0.0
        self._unready_since = self._clock.seconds()
        self._pump()

    def _may_begin(self) -> bool:
        return (
            self.ready
            and len(self._running) < self._settings.concurrency
            and (not self._not_before or self._clock.seconds() >= self._not_before)
        )

    def _pump(self) -> None:
        while self._waiting and self._may_begin():
            self._begin(self._waiting.popleft())

    def _begin(self, delivery: Delivery) -> None:
        event = MessageEvent.of(self._settings, delivery)
        try:
            dispatched = self._dispatch(event)
        except Exception:
            dispatched = fail()
        if self._single and dispatched.called and dispatched.result is None:
            # A plugin that responds at once: nothing to keep an eye on.
            self._mean *= 1 - _WEIGHT
            self._let_go(delivery)
            self._succeeded(None, delivery, event)
            return
        self._hold(delivery)
        self._running[delivery] = dispatched
        dispatched.addBoth(self._timed, self._clock.seconds())
        dispatched.addCallbacks(
            self._succeeded, self._failed, callbackArgs=(delivery, event), errbackArgs=(delivery, event)
        )
        # Whatever goes wrong here must not take the slot with it.
        dispatched.addErrback(self._unexpected, delivery).addBoth(self._ended, delivery)

    def _hold(self, delivery: Delivery) -> None:
        if delivery.key not in self._held:
            self._held[delivery.key] = delivery
            self.held_bytes += delivery.size

    def _let_go(self, delivery: Delivery) -> None:
        if self._held.pop(delivery.key, None) is not None:
            self.held_bytes -= delivery.size

    def _timed(self, result: Any, began: float) -> Any:
        took = self._clock.seconds() - began
        self._mean += (took - self._mean) * _WEIGHT
        return result

    def _succeeded(self, _: None, delivery: Delivery, event: TriggerEvent) -> Deferred[None] | None:
        if not self._single:  # its confirmation may fail
            delivery.ids = ids(event.traceparent)
        self.acknowledged.remember(delivery)
        return self._acks.succeeded(delivery)

    def _failed(self, failure: Failure, delivery: Delivery, event: TriggerEvent) -> Deferred[None] | None:
        delivery.ids = ids(event.traceparent)
        # What the dispatcher was given, it has logged.
        error = cast(BaseException, failure.value)
        if isinstance(error, (PluginUnavailableError, StorageError)) and not self._stopping:
            # Giving it back would cost a delivery, and nobody has failed at it.
            self._postponed.add(delivery)
            return None
        text = str(error) if isinstance(error, EventError) else describe(error)
        return self._acks.failed(delivery, text, self._interrupted)

    def _unexpected(self, failure: Failure, delivery: Delivery) -> None:
        if not failure.check(CancelledError):
            _log.failure(
                "{trigger}: a message could be neither acknowledged nor given back",
                failure,
                trigger=self._settings.name,
                **delivery.ids,
            )

    def _ended(self, _: None, delivery: Delivery) -> None:
        del self._running[delivery]
        if delivery in self._postponed:
            self._postpone(delivery)
            return
        self._let_go(delivery)
        self._pump()
        self.room()
        if not self._held:
            emptied, self._emptied = self._emptied, []
            for deferred in emptied:
                deferred.callback(None)

    def _postpone(self, delivery: Delivery) -> None:
        """Keep a message that nobody has handled in front, for when that may be possible again."""
        self._postponed.discard(delivery)
        self._acks.postponed()
        self._waiting.appendleft(delivery)
        self._not_before = self._clock.seconds() + POSTPONED
        self._clock.callLater(POSTPONED, self._pump)

    def extend(self) -> None:
        """
        Extend the deadlines of the messages here. To be called four times in ``ack_wait``, so that each is
        extended at half of it at the latest.
        """
        for delivery in self._held.values():
            if delivery.extended:
                self._acks.extend(delivery)
            delivery.extended = True
        waited = 0.0 if self.ready else self._clock.seconds() - self._unready_since
        if waited > LONGEST_WAIT and self._acks.max_deliver == -1:
            self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        """For other nodes, or for later; but a message is not delivered again after its last delivery."""
        kept = [delivery for delivery in self._waiting if not self._acks.can_give_back(delivery)]
        for delivery in self._waiting:
            if self._acks.can_give_back(delivery):
                self._acks.give_back(delivery)
                self._let_go(delivery)
        self._waiting = deque(kept)

    def begin_no_more(self) -> None:
        """Give back what is not begun, but for messages that would not come again."""
        self._stopping = self._acks.stopping = True
        self._give_back_waiting()
        if not self.ready:
            # Nobody is there to handle them.
            for delivery in self._waiting:
                self._let_go(delivery)
            self._waiting.clear()

    def empty(self) -> Deferred[None]:
        """:returns: a Deferred that fires when no message is here any more. It may be cancelled."""
        if not self._held:
            return succeed(None)
        emptied: Deferred[None] = Deferred(lambda emptied: self._emptied.remove(emptied))
        self._emptied.append(emptied)
        return emptied

    def interrupt(self) -> None:
        """End what is under way still; it is given back at once."""
        self._interrupted = True
        for dispatched in list(self._running.values()):
            dispatched.cancel()
