"""A connection to NATS that the test runs by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, succeed


@define(eq=False)
class Message:
    """What `scfd.triggers.nats.client.Message` asks for."""

    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None = None


class FakeConnection:
    """
    What `scfd.triggers.nats.connection.Connection` offers to the parts of a trigger.

    :ivar responses: (reply, payload) of each acknowledgement.
    :ivar sent: (subject, payload, reply) of all else that was said.
    :ivar requests: (subject, payload, the Deferred of its response).
    :ivar headers: those of the last request.
    :ivar deliver: what subscribed, to be called with messages.
    """

    def __init__(self) -> None:
        self.responses: list[tuple[str, bytes]] = []
        self.sent: list[tuple[str, bytes, str]] = []
        self.requests: list[tuple[str, bytes, Deferred[Any]]] = []
        self.deliver: Callable[[Message], object] = lambda message: None
        self.headers: dict[str, str] = {}
        self.connected = True
        self.max_payload = 0
        self.reason = ""

    def up(self) -> Deferred[None]:
        return succeed(None)

    def watch(self, watcher: Callable[[], object]) -> None:
        """It is never lost."""

    def new_inbox(self) -> str:
        return "_INBOX.test"

    def respond(self, reply: str, payload: bytes = b"") -> None:
        assert reply.startswith("$JS.ACK."), reply
        self.responses.append((reply, payload))

    def send(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self.sent.append((subject, payload, reply))

    def request(
        self, subject: str, payload: bytes, timeout: float, headers: dict[str, str] | None = None
    ) -> Deferred[Any]:
        assert timeout > 0
        response: Deferred[Any] = Deferred()
        self.requests.append((subject, payload, response))
        self.headers = headers or {}
        return response

    def subscribe(self, subject: str, callback: Callable[[Message], object]) -> Deferred[Any]:
        self.deliver = callback
        return succeed(object())

    def unsubscribe(self, subscription: object) -> Deferred[None]:
        return succeed(None)
