"""Requests to JetStream: https://docs.nats.io/reference/reference-protocols/nats_api_reference."""

from __future__ import annotations

import asyncio
import base64
from datetime import datetime
from typing import Any

import nats.errors
from attrs import define, frozen

from scfd.errors import describe
from scfd.events.wire import from_json, to_json
from scfd.triggers.nats.client import parse_headers
from scfd.triggers.nats.connection import Connection, NotConnectedError
from scfd.triggers.nats.consumer_config import NANO

#: Seconds for one response. A cluster without a leader drops requests: better to ask again soon.
REQUEST_TIMEOUT = 2.0
#: Codes of the server's refusals.
STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND = 10059, 10014, 10037
#: There is a consumer of that name already, with another config.
CONSUMER_EXISTS = 10148


@frozen
class JetStreamError(Exception):
    """
    JetStream refuses.

    :ivar code: the server's ``err_code``; 0 where it gave none.
    :ivar text: what it says.
    """

    code: int
    text: str

    def __str__(self) -> str:
        return self.text + (f" (error {self.code})" if self.code else "")


async def call(connection: Connection, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """
    Ask JetStream's API.

    :param subject: with `NatsSettings.api` in front.
    :raises JetStreamError: it refuses.
    :raises Exception: there is no response; `reason` has words for it.
    """
    payload = to_json(body) if body is not None else b""
    response = await connection.request(subject, payload, REQUEST_TIMEOUT)
    return _checked(response.data)


async def publish(connection: Connection, subject: str, body: bytes, headers: dict[str, str]) -> None:
    """
    Publish a message; done when a stream has it.

    :raises JetStreamError: the server refuses it.
    :raises Exception: nobody confirms it; `reason` has words for it.
    """
    try:
        response = await connection.request(subject, body, REQUEST_TIMEOUT, headers)
    except nats.errors.NoRespondersError:
        raise JetStreamError(0, f"no stream has the subject {subject}") from None
    _checked(response.data)


@define
class Stored:
    """
    A message as its stream has it: a `scfd.triggers.nats.client.Message` without a reply.

    :ivar nanoseconds: when the stream took it, since the epoch.
    """

    sequence: int
    nanoseconds: int
    subject: str
    data: bytes
    headers: dict[str, str] | None
    reply: str = ""


async def stored(connection: Connection, api: str, stream: str, which: dict[str, Any]) -> Stored | None:
    """
    Read a message from its stream; fails as `call` does.

    :param which: ``seq``, and perhaps ``next_by_subj``.
    :returns: None when there is none.
    """
    try:
        found = (await call(connection, f"{api}.STREAM.MSG.GET.{stream}", which))["message"]
    except JetStreamError as error:
        if error.code not in (MESSAGE_NOT_FOUND, STREAM_NOT_FOUND):
            raise
        return None
    # Up to nine digits of a second, which Python can't read.
    whole, _, fraction = found["time"].rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return Stored(
        int(found["seq"]),
        seconds * NANO + int(fraction.ljust(9, "0")),
        found["subject"],
        base64.b64decode(found.get("data") or ""),
        parse_headers(base64.b64decode(found["hdrs"])) if found.get("hdrs") else None,
    )


async def stream_of(connection: Connection, api: str, subject: str) -> str:
    """:returns: the name of the stream that has a subject; empty when there is none. Fails as `call` does."""
    found = await call(connection, f"{api}.STREAM.NAMES", {"subject": subject})
    return str((found.get("streams") or [""])[0])


def _checked(data: bytes) -> dict[str, Any]:
    value = from_json(data)
    if not isinstance(value, dict):
        raise JetStreamError(0, "the response is not an object")
    error = value.get("error")
    if error:
        raise JetStreamError(int(error.get("err_code", 0)), str(error.get("description", "no reason")))
    return value


def reason(error: BaseException) -> str:
    """What went wrong, as one line for a person."""
    if isinstance(error, nats.errors.NoRespondersError):
        return "nobody responds for JetStream: it is turned off, or has no leader now"
    if isinstance(error, (nats.errors.TimeoutError, asyncio.TimeoutError, TimeoutError)):
        return f"JetStream does not respond within {REQUEST_TIMEOUT:g} s"
    if isinstance(error, JetStreamError):
        return f"the server refuses: {error}"
    if isinstance(error, (NotConnectedError, BindError, LostError)):
        return str(error)
    return describe(error)


class BindError(Exception):
    """The stream or the consumer are not as they should be; the text is a line for the user."""


class LostError(Exception):
    """There is nothing more to be expected of the consumer; the text says why."""
