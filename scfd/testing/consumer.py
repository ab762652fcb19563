"""A pull consumer of the JetStream in memory: who gets which message, and when again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define

from scfd.config.nats import subject_matches
from scfd.events.wire import from_json, from_rfc3339, rfc3339
from scfd.testing.stream import Stream
from scfd.triggers.nats.consumer_config import NANO, filters_of

#: What nats-server fills in.
_DEFAULTS: Mapping[str, Any] = {
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": 30 * NANO,
    "max_deliver": -1,
    "max_ack_pending": 1000,
    "max_waiting": 512,
    "replay_policy": "instant",
    "num_replicas": 0,
}


@define(eq=False)
class Delivered:
    """What a client gets: see `scfd.triggers.nats.client.Message`."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None


@define
class _Pending:
    """
    A message that is with a client, or waits to be delivered again.

    :ivar deliveries: how many there were.
    :ivar deadline: when it is delivered again, by the clock.
    """

    consumer_sequence: int
    deliveries: int
    deadline: float


@define(eq=False)
class _Request:
    """
    A pull request.

    :ivar left: messages that it may still get.
    :ivar expires: when it ends, by the clock.
    :ivar heartbeat: seconds of silence after which the client gets a sign of life; 0 is none.
    :ivar quiet_until: when that is, by the clock.
    """

    inbox: str
    left: int
    expires: float
    heartbeat: float
    quiet_until: float


class Consumer:
    """
    :param deliver: called with an inbox and a message; says whether somebody listens there.
    :ivar after: called when a deadline has passed.
    """

    def __init__(
        self,
        stream: Stream,
        name: str,
        config: Mapping[str, Any],
        clock: Any,
        now: Callable[[], float],
        deliver: Callable[[str, Delivered], bool],
    ) -> None:
        self._stream = stream
        self._name = name
        self._asked = dict(config)
        self.config: dict[str, Any] = {**_DEFAULTS, "name": name, **config}
        self._clock = clock
        self._deliver = deliver
        self._created = now()
        self._next = self._first()
        self._last_delivered = 0, self._next - 1
        self._deliveries = 0
        self._pending: dict[int, _Pending] = {}
        self._again: deque[int] = deque()
        self._requests: deque[_Request] = deque()
        self._timer: Any = None
        self.after: Callable[[], object] = lambda: None

    def _first(self) -> int:
        """:returns: the stream sequence that the deliver policy begins with."""
        policy, messages = self.config["deliver_policy"], self._stream.messages
        if policy == "all":
            return min(messages, default=self._stream.last + 1)
        if policy == "by_start_sequence":
            return int(self.config["opt_start_seq"])
        if policy == "by_start_time":
            start = from_rfc3339(self.config["opt_start_time"]).timestamp()
            return next(
                (one for one, message in messages.items() if message.stored >= start), self._stream.last + 1
            )
        if policy == "last":
            return max((one for one in messages if self._matches(one)), default=self._stream.last + 1)
        return self._stream.last + 1  # new

    def _matches(self, sequence: int) -> bool:
        filters = filters_of(self.config)
        subject = self._stream.messages[sequence].subject
        return not filters or any(subject_matches(pattern, subject) for pattern in filters)

    def _coming(self) -> int | None:
        """:returns: the next message that was never delivered."""
        while self._next <= self._stream.last:
            if self._next in self._stream.messages and self._matches(self._next):
                return self._next
            self._next += 1
        return None

    @property
    def idle(self) -> bool:
        """Whether a client waits for messages, and there are none."""
        return bool(self._requests) and not self._pending and not self._again and self._coming() is None

    def is_made_by(self, config: Mapping[str, Any]) -> bool:
        """Whether a request to make it asks for what it is."""
        return config == self._asked

    def update(self, config: Mapping[str, Any]) -> None:
        """Take another config."""
        self._asked, self.config = dict(config), {**_DEFAULTS, "name": self._name, **config}
        self.pump()

    def pulled(self, inbox: str, request: Mapping[str, Any]) -> None:
        """Take a pull request: ADR-13."""
        now = self._clock.seconds()
        heartbeat = request.get("idle_heartbeat", 0) / NANO
        if heartbeat * 2 > request.get("expires", 0) / NANO:
            self._status(inbox, "400", "Bad Request - heartbeat value too large")
            return
        if len(self._requests) >= self.config["max_waiting"]:
            self._status(inbox, "409", "Exceeded MaxWaiting")
            return
        expires = now + request.get("expires", 0) / NANO
        one = _Request(inbox, int(request.get("batch", 1)), expires, heartbeat, now + heartbeat)
        self._requests.append(one)
        self.pump()
        if request.get("no_wait") and one in self._requests:
            self._requests.remove(one)
            self._status(inbox, "404", "No Messages", one)

    def forget(self, inbox: str) -> None:
        """Nobody listens there any more."""
        self._requests = deque(one for one in self._requests if one.inbox != inbox)

    def deleted(self) -> None:
        """Tell all who wait."""
        for request in self._requests:
            self._status(request.inbox, "409", "Consumer Deleted")
        self._requests.clear()
        self._set_timer()

    def acknowledged(self, sequence: int, data: bytes) -> None:
        """:param data: ``+ACK``, ``-NAK``, ``+WPI`` or ``+TERM``, with what follows."""
        pending = self._pending.get(sequence)
        kind, _, rest = data.partition(b" ")
        if pending is None:
            return
        if kind in (b"", b"+ACK", b"+TERM"):
            del self._pending[sequence]
            if sequence in self._again:
                self._again.remove(sequence)
            if self._stream.config.get("retention") == "workqueue":
                del self._stream.messages[sequence]
        elif kind == b"+WPI":
            pending.deadline = self._clock.seconds() + self._wait(pending.deliveries)
        elif kind == b"-NAK":
            delay = from_json(rest).get("delay", 0) / NANO if rest else 0
            if delay:
                pending.deadline = self._clock.seconds() + delay
            else:
                self._queue_again(sequence)
        self.pump()

    def _wait(self, deliveries: int) -> float:
        backoff = self.config.get("backoff")
        return (
            float(backoff[min(deliveries, len(backoff)) - 1] if backoff else self.config["ack_wait"]) / NANO
        )

    def _queue_again(self, sequence: int) -> None:
        if 0 < self.config["max_deliver"] <= self._pending[sequence].deliveries:
            del self._pending[sequence]  # it stays in the stream, and is not delivered any more
        elif sequence not in self._again:
            self._again.append(sequence)

    def pump(self) -> None:
        """Give the requests what there is for them."""
        while self._requests and (sequence := self._take()) is not None:
            request = self._requests.popleft()
            request.left -= 1
            request.quiet_until = self._clock.seconds() + request.heartbeat
            if request.left:
                self._requests.append(request)
            self._give(request.inbox, sequence)
        self._set_timer()

    def _take(self) -> int | None:
        if self._again:
            return self._again.popleft()
        limit = self.config["max_ack_pending"]
        if 0 < limit <= len(self._pending) or self._coming() is None:
            return None
        self._next += 1
        return self._next - 1

    def _give(self, inbox: str, sequence: int) -> None:
        message = self._stream.messages[sequence]
        earlier = self._pending.get(sequence)
        count = earlier.deliveries + 1 if earlier else 1
        self._deliveries += 1
        self._pending[sequence] = _Pending(self._deliveries, count, self._clock.seconds() + self._wait(count))
        self._last_delivered = self._deliveries, max(self._last_delivered[1], sequence)
        place = f"{count}.{sequence}.{self._deliveries}.{round(message.stored * NANO)}.{self._unseen()}"
        reply = f"$JS.ACK.{self._stream.name}.{self._name}.{place}"
        self._deliver(inbox, Delivered(message.subject, reply, message.data, dict(message.headers) or None))

    def _status(self, inbox: str, status: str, text: str, request: _Request | None = None) -> None:
        headers = {"Status": status, "Description": text}
        if request is not None:
            headers.update({"Nats-Pending-Messages": str(request.left), "Nats-Pending-Bytes": "0"})
        self._deliver(inbox, Delivered(inbox, "", b"", headers))

    def _set_timer(self) -> None:
        due = [pending.deadline for sequence, pending in self._pending.items() if sequence not in self._again]
        for request in self._requests:
            due.append(min(request.expires, request.quiet_until) if request.heartbeat else request.expires)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if due:
            self._timer = self._clock.callLater(max(0.0, min(due) - self._clock.seconds()), self._look)

    def _look(self) -> None:
        """Deadlines have passed: deliver again, end requests, give signs of life."""
        now = self._clock.seconds() + 1e-6
        for sequence, pending in list(self._pending.items()):
            if pending.deadline <= now and sequence not in self._again:
                self._queue_again(sequence)
        for request in list(self._requests):
            if request.expires <= now:
                self._requests.remove(request)
                self._status(request.inbox, "408", "Request Timeout", request)
            elif request.heartbeat and request.quiet_until <= now:
                request.quiet_until = now + request.heartbeat
                self._status(request.inbox, "100", "Idle Heartbeat")
        self.pump()
        self.after()

    def _unseen(self) -> int:
        return sum(map(self._matches, (one for one in self._stream.messages if one >= self._next)))

    def _floor(self) -> tuple[int, int]:
        """:returns: consumer and stream sequence up to which all is acknowledged."""
        if not self._pending:
            return self._last_delivered
        first = min(self._pending)
        return self._pending[first].consumer_sequence - 1, first - 1

    def info(self) -> dict[str, Any]:
        """As JetStream's API has it."""
        floor, delivered = self._floor(), self._last_delivered
        return {
            "stream_name": self._stream.name,
            "name": self._name,
            "created": rfc3339(self._created),
            "config": self.config,
            "delivered": {"consumer_seq": delivered[0], "stream_seq": delivered[1]},
            "ack_floor": {"consumer_seq": floor[0], "stream_seq": floor[1]},
            "num_ack_pending": len(self._pending),
            "num_redelivered": sum(pending.deliveries > 1 for pending in self._pending.values()),
            "num_waiting": len(self._requests),
            "num_pending": self._unseen(),
        }
