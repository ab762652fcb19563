"""Which messages were acknowledged lately: tells a lost acknowledgement from a replay that is asked for."""

from __future__ import annotations

from attrs import frozen

from scfd.triggers.nats.message import Delivery

#: Messages that are remembered: at least so many, at most twice as many.
REMEMBERED = 2048


@frozen
class Life:
    """
    A consumer at the moment when it was bound. A reset one, like one made again, counts from 0 again.

    :ivar created: when it was made, as the server writes it.
    :ivar process: the id of the server process that leads it; empty where that can't be told.
    :ivar deliveries: how many there have been.
    :ivar sequence: the stream sequence up to which it has delivered.
    :ivar own: whether this node has just made it, from where a deleted one had been.
    """

    created: str
    process: str
    deliveries: int
    sequence: int
    own: bool


class Acknowledged:
    """
    A message that was acknowledged and comes again is acknowledged again if its ack was lost: it comes as
    another delivery of the same message, or a server was killed and does not know its last second any more.
    In a new life of the consumer it is handled: somebody has asked for that.

    :ivar binding: how often the server may have forgotten deliveries. A message belongs to the binding in
        which it was received.
    """

    def __init__(self) -> None:
        #: By the key of a message, the binding in which it was received.
        self._bindings: dict[str, int] = {}
        self._bindings_before: dict[str, int] = {}
        self._life: Life | None = None
        #: The number of the last delivery; the same a moment ago, and when a server has it on disk by now.
        self._number = self._number_lately = self._number_on_disk = 0
        #: The server may have forgotten deliveries of messages after this stream sequence.
        self._sequence = 0
        self.binding = 0

    def look(self) -> None:
        """To be called about once a second: a server writes what it has delivered within a second."""
        self._number_on_disk, self._number_lately = self._number_lately, self._number

    def bound(self, life: Life) -> None:
        """Compare the consumer with what is known of it."""
        before, self._life = self._life, life
        if before is None or life.own:
            self._went_back(life)
        elif life.created != before.created:
            self._forget()
        elif life.deliveries < self._number:
            same_process = life.process and life.process == before.process
            if same_process or life.deliveries < self._number_on_disk:
                self._forget()  # more than a server that is killed may forget: it was reset
            else:
                self._went_back(life)
        self._number = self._number_lately = self._number_on_disk = life.deliveries

    def _went_back(self, life: Life) -> None:
        self.binding += 1
        self._sequence = life.sequence

    def _forget(self) -> None:
        self._bindings, self._bindings_before = {}, {}

    def remember(self, delivery: Delivery) -> None:
        """The message is being acknowledged."""
        self._bindings[delivery.key] = delivery.binding
        if len(self._bindings) >= REMEMBERED:
            self._bindings_before, self._bindings = self._bindings, {}

    def knows(self, sequence: int) -> bool:
        """Whether the message with this stream sequence is among them."""
        keys = [*self._bindings, *self._bindings_before]
        return any(key.startswith(f"{sequence}.") for key in keys)

    def has(self, delivery: Delivery) -> bool:
        """Whether only the ack of a message is missing. To be called once with each delivery."""
        number = delivery.number
        if number <= self._number:  # they only grow in one life
            self._forget()
        self._number = number
        key = delivery.key
        binding = self._bindings.get(key, self._bindings_before.get(key))
        if binding is None:
            return False
        forgotten = binding < self.binding and delivery.sequence > self._sequence
        if delivery.delivered > 1 or forgotten:
            self._bindings[key] = self.binding
            return True
        self._bindings.pop(key, None)
        self._bindings_before.pop(key, None)
        return False
