"""Dead letters: messages whose last delivery has failed, published and read again."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.events.wire import rfc3339
from scfd.status.readiness import Readiness
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer_config import NANO
from scfd.triggers.nats.jetstream import JetStreamError, call, publish, reason, stored, stream_of
from scfd.triggers.nats.message import Delivery, message_payload

_log = Logger(namespace="scfd.nats")

#: Seconds between two tries to publish; doubled up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Characters of a reason; a plugin's response may be long, and headers count against the server's limit.
LONGEST_REASON = 500
#: What a letter says of the message; these headers are never left out.
OWN_HEADERS = frozenset(
    {
        "Scfd-Reason",
        "Scfd-Trigger",
        "Scfd-Stream",
        "Scfd-Subject",
        "Scfd-Sequence",
        "Scfd-Deliveries",
        "Nats-Msg-Id",
    }
)


def letter_headers(settings: NatsSettings, delivery: Delivery, text: str) -> dict[str, str]:
    """
    The message's own headers, and what became of it.

    Those that begin with ``Nats-`` are left out: they would tell the server what to do with the
    letter, or have it taken for a duplicate of the message.
    """
    headers = {
        name: value.replace("\r", " ").replace("\n", " ")
        for name, value in (delivery.message.headers or {}).items()
        if not name.lower().startswith("nats-")
    }
    headers.update(
        {
            "Scfd-Reason": " ".join(text.split())[:LONGEST_REASON],
            "Scfd-Trigger": settings.name,
            "Scfd-Stream": delivery.stream,
            "Scfd-Subject": delivery.message.subject,
            "Scfd-Sequence": str(delivery.sequence),
            "Scfd-Deliveries": str(delivery.delivered),
            # A letter that is published once more, since its confirmation was lost, is the same one.
            "Nats-Msg-Id": f"{delivery.stream}.{settings.consumer_name}.{delivery.key}",
        }
    )
    return headers


def fitted(headers: dict[str, str], body: bytes, limit: int) -> tuple[dict[str, str], bytes, str]:
    """
    A letter that the server takes. One that is larger than its ``max_payload`` would end the connection,
    and nats-py looks at the body only.

    :param limit: the server's ``max_payload``, in bytes; 0 where it is not known.
    :returns: headers, body, and what was left out: the message's headers, or these and its body.
    """
    if not limit or _size(headers, body) <= limit:
        return headers, body, ""
    own = {name: value for name, value in headers.items() if name in OWN_HEADERS}
    for left_out, kept in (("headers", body), ("headers, body", b"")):
        smaller = {**own, "Scfd-Left-Out": left_out}
        if _size(smaller, kept) <= limit:
            break
    return smaller, kept, left_out


def _size(headers: dict[str, str], body: bytes) -> int:
    lines = sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    return len(b"NATS/1.0\r\n\r\n") + lines + len(body)


class DeadLetters:
    """
    Publishes the messages that have failed for good.

    The server does not deliver such a message again, whatever it is told. So until the letter is in
    a stream, the message is kept here, and its place in the concurrency with it.
    """

    def __init__(
        self, settings: NatsSettings, connection: Connection, readiness: Readiness, clock: IReactorTime
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._readiness = readiness
        self._clock = clock
        self._component = f"dead letters of {settings.name}"
        self._failing: set[Delivery] = set()

    async def bury(self, delivery: Delivery, text: str, once: bool = False) -> bool:
        """
        Publish a message, however often that takes.

        :param text: why it has failed.
        :param once: try it once only, for the end of the node.
        :returns: whether a stream has all of it but its headers. If not, the message must stay in its own.
        """
        try:
            left_out = await self._published(delivery, text, once)
        finally:
            self._well(delivery)
        if left_out is None:
            return False
        _log.warn(
            "{trigger}: message {sequence} of stream {stream} failed at its last delivery, number {count},"
            " and is on {subject} now: {reason}",
            trigger=self._settings.name,
            count=delivery.delivered,
            subject=self._settings.dead_letter,
            reason=text,
            **delivery.about,
        )
        if left_out:
            _log.warn(
                "{trigger}: the letter of message {sequence} of stream {stream} is without {left_out}: it"
                " would be larger than the server's max_payload",
                trigger=self._settings.name,
                left_out=left_out,
                **delivery.about,
            )
        # A work queue would delete the only copy of the body.
        return "body" not in left_out

    async def _published(self, delivery: Delivery, text: str, once: bool) -> str | None:
        """:returns: what was left out of the letter; None when there is none."""
        pause = FIRST_PAUSE
        letter = letter_headers(self._settings, delivery, text)
        while True:
            limit = self._connection.max_payload
            headers, body, left_out = fitted(letter, delivery.message.data, limit)
            if limit and _size(headers, body) > limit:
                _log.error(
                    "{trigger}: message {sequence} of stream {stream} stays there and nowhere else: the"
                    " letter is larger than the server's max_payload",
                    trigger=self._settings.name,
                    **delivery.about,
                )
                return None
            why = await self._publish(body, headers)
            if why is None:
                return left_out
            self._not_well(delivery, why)
            if once:
                return None
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _publish(self, body: bytes, headers: dict[str, str]) -> str | None:
        """:returns: why it is not in a stream; None when it is."""
        try:
            await publish(self._connection, self._settings.dead_letter, body, headers)
        except CancelledError:
            raise
        except Exception as error:
            return reason(error)
        return None

    def _not_well(self, delivery: Delivery, why: str) -> None:
        self._failing.add(delivery)
        text = f"message {delivery.sequence} can't be published on {self._settings.dead_letter}: {why}"
        advice = f"see that a stream takes {self._settings.dead_letter}, and this user may publish there"
        if self._readiness.problem(self._component, text, advice):
            _log.error("{trigger}: {text}; trying on", trigger=self._settings.name, text=text, **delivery.ids)

    def _well(self, delivery: Delivery) -> None:
        self._failing.discard(delivery)
        if not self._failing:
            self._readiness.well(self._component)


@frozen
class Letter:
    """
    A message that failed for good.

    :ivar sequence: the letter's own, in the stream of letters.
    :ivar at: when it was put there, RFC 3339.
    :ivar headers: the letter's; those of `OWN_HEADERS` say what became of the message.
    """

    sequence: int
    at: str
    headers: dict[str, str]
    data: bytes

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self.headers.get("Scfd-Reason", "")

    @property
    def trigger(self) -> str:
        """The trigger at which it failed."""
        return self.headers.get("Scfd-Trigger", "")

    def payload(self) -> Any:
        """The message as an event has it."""
        return message_payload(self.data)[0]

    def metadata(self) -> dict[str, str]:
        """What an event of the message has as its metadata, as far as the letter knows it."""
        own = {
            "subject": self.headers.get("Scfd-Subject", ""),
            "stream": self.headers.get("Scfd-Stream", ""),
            "stream_sequence": self.headers.get("Scfd-Sequence", ""),
            "num_delivered": self.headers.get("Scfd-Deliveries", "0"),
            "dead_letter": str(self.sequence),
        }
        carried = {f"header.{name}": value for name, value in self.headers.items() if name not in OWN_HEADERS}
        return {**message_payload(self.data)[2], **own, **carried}


class Letters:
    """
    The dead letters of one trigger.

    Its methods fail with what `scfd.triggers.nats.jetstream.reason` has words for.
    """

    def __init__(self, settings: NatsSettings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection

    async def list(self, limit: int) -> list[Letter]:
        """The oldest first."""
        found: list[Letter] = []
        stream, sequence = await self._stream(), 1
        while len(found) < limit:
            letter = await self._get(stream, {"seq": sequence, "next_by_subj": self._settings.dead_letter})
            if letter is None:
                break
            sequence = letter.sequence + 1
            if letter.trigger == self._settings.name:  # triggers may share a subject
                found.append(letter)
        return found

    async def find(self, sequence: int) -> Letter | None:
        """:returns: None when this trigger has no such letter."""
        letter = await self._get(await self._stream(), {"seq": sequence})
        return letter if letter is not None and letter.trigger == self._settings.name else None

    async def delete(self, sequence: int) -> None:
        """Remove a letter from its stream."""
        await call(
            self._connection,
            f"{self._settings.api}.STREAM.MSG.DELETE.{await self._stream()}",
            {"seq": sequence},
        )

    async def _stream(self) -> str:
        subject = self._settings.dead_letter
        if not (stream := await stream_of(self._connection, self._settings.api, subject)):
            raise JetStreamError(0, f"no stream has the subject {subject}")
        return stream

    async def _get(self, stream: str, which: dict[str, Any]) -> Letter | None:
        found = await stored(self._connection, self._settings.api, stream, which)
        if found is None:
            return None
        return Letter(found.sequence, rfc3339(found.nanoseconds / NANO), found.headers or {}, found.data)
