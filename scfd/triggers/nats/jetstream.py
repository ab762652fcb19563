"""Requests to JetStream: https://docs.nats.io/reference/reference-protocols/nats_api_reference."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
from attrs import frozen

from scfd.errors import describe
from scfd.events.wire import from_json, to_json
from scfd.triggers.nats.connection import Connection, NotConnectedError

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
    if isinstance(error, (nats.errors.TimeoutError, asyncio.TimeoutError)):
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
