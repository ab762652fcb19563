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


async def exchange(request: Deferred[Any], limit: int) -> tuple[int, bytes]:
    """
    :param request: of an `IResponse`, as an `Agent` or a treq client made it.
    :param limit: bytes that the body may have.
    :returns: the status code and the whole body of the response.
    :raises BodyTooLongError: when it is longer; the connection is closed.
    """
    response = await cancellable(request)
    return response.code, await read_body(response, limit)


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


class BodyTooLongError(Exception):
    """A peer sent more than it may."""


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """:returns: a Deferred of the whole body. Cancelling it closes the connection."""
    body = _Body(limit)
    response.deliverBody(body)
    return body.whole


class _Body(Protocol):
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._parts: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        assert self.transport is not None, "a body that is being read has a connection"
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= self._limit:
            self._parts.append(data)
        elif not self.whole.called:
            self._parts.clear()
            self.whole.errback(BodyTooLongError(f"the answer is longer than {self._limit >> 20} MiB"))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # PotentialDataLoss: a body without a length ends where its connection does.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)
