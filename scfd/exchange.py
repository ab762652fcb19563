"""An HTTP exchange that ends as soon as it is cancelled: with `CancelledError`, its connection closed."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

T = TypeVar("T")


async def exchange(request: Deferred[Any]) -> tuple[int, bytes]:
    """
    :param request: of an `IResponse`, as an `Agent` or a treq client made it.
    :returns: the status code and the whole body of the response.
    """
    response = await cancellable(request)
    return response.code, await read_body(response)


def cancellable(request: Deferred[T]) -> Deferred[T]:
    """
    Have the Deferred of an `Agent` fail with `CancelledError` when it is cancelled.

    The agent itself fails it with errors of its own, in which neither ``addTimeout`` nor an
    ``except CancelledError`` finds the cancellation.
    """
    return request.addErrback(_unwrapped)


def _unwrapped(failure: Failure) -> Failure:
    reasons = getattr(failure.value, "reasons", ())
    if failure.check(ConnectingCancelledError) or any(reason.check(CancelledError) for reason in reasons):
        return Failure(CancelledError())
    return failure


def read_body(response: IResponse) -> Deferred[bytes]:
    """:returns: a Deferred of the whole body. Cancelling it closes the connection."""
    body = _Body()
    response.deliverBody(body)
    return body.whole


class _Body(Protocol):
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        assert self.transport is not None, "a body that is being read has a connection"
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # PotentialDataLoss: a body without a length ends where its connection does.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)
