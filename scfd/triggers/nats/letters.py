"""Reads dead letters from the stream that keeps them; `scfd.triggers.nats.dead_letter` publishes them."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from scfd.config import NatsSettings
from scfd.events.wire import rfc3339
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer_config import NANO
from scfd.triggers.nats.dead_letter import OWN_HEADERS
from scfd.triggers.nats.jetstream import JetStreamError, call, stored, stream_of
from scfd.triggers.nats.message import message_payload


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
