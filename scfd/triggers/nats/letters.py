"""Reads dead letters from the stream that keeps them; `scfd.triggers.nats.dead_letter` publishes them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from attrs import frozen

from scfd.config import NatsSettings
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.dead_letter import OWN_HEADERS
from scfd.triggers.nats.jetstream import JetStreamError, call
from scfd.triggers.nats.message import message_payload

#: The server's code for a message that there is not.
_NO_MESSAGE = 10037


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
        subject = {"subject": self._settings.dead_letter}
        found = await call(self._connection, f"{self._settings.api}.STREAM.NAMES", subject)
        names = found.get("streams") or []
        if not names:
            raise JetStreamError(0, f"no stream has the subject {self._settings.dead_letter}")
        return str(names[0])

    async def _get(self, stream: str, which: dict[str, Any]) -> Letter | None:
        try:
            found = await call(self._connection, f"{self._settings.api}.STREAM.MSG.GET.{stream}", which)
        except JetStreamError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        message = found["message"]
        return Letter(
            int(message["seq"]),
            _rfc3339(str(message["time"])),
            _headers(base64.b64decode(message.get("hdrs") or "")),
            base64.b64decode(message.get("data") or ""),
        )


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _rfc3339(text: str) -> str:
    """The server's moments have nanoseconds, which Python can't read."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(f"{whole}.{fraction[:3]:0<3}+00:00")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
