"""What a connection to a server and the owner of a request know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from zope.interface import Interface

if TYPE_CHECKING:
    from scfd.http1.connection import Connection


class UpstreamError(Exception):
    """A request got no whole answer. The text says why, for a person."""


class ConnectError(UpstreamError):
    """No connection could be made: nothing has been sent."""


class ConnectTimeoutError(ConnectError):
    """None could be made in time."""


class DisconnectedError(UpstreamError):
    """
    The connection ended before the answer did.

    :ivar answered: whether a byte of the answer had arrived.
    """

    def __init__(self, text: str, answered: bool) -> None:
        super().__init__(text)
        self.answered = answered


class BadResponseError(UpstreamError):
    """What arrived is not HTTP/1.1, or none that can be passed on."""


@define(eq=False)
class ResponseHead:
    """
    Status line and headers, as they were received.

    :ivar version: ``1.0`` or ``1.1``.
    :ivar headers: names and values, in their order.
    """

    version: str
    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]


class IExchange(Interface):
    """
    One request and its answer, seen from the request's owner.

    After ``on_end`` or ``on_failure`` nothing follows, and the connection is somebody else's.
    """

    def on_connection(connection: Connection) -> None:
        """A connection is there: send the request. It may come while `Pool.submit` is still running."""

    def on_informational(head: ResponseHead) -> None:
        """An answer before the answer: any status 1xx but 101."""

    def on_head(head: ResponseHead) -> None:
        """
        The answer begins. After a 101 the connection is a tunnel: ``on_data`` gets the bytes as they
        come, and ``write`` takes them as they are to go.
        """

    def on_data(data: bytes) -> None:
        """A part of the body, without the framing of chunks."""

    def on_read() -> None:
        """All that has arrived so far has been told, and more is to come: write it on in one go."""

    def on_end() -> None:
        """
        The answer is complete. It may be before the request is: then the server does not want to
        read the rest, and the connection is closed.
        """

    def on_failure(error: UpstreamError) -> None:
        """There is no answer, or the rest of it is missing."""

    def on_writable(writable: bool) -> None:
        """Back-pressure: whether the server keeps up with the body of the request."""
