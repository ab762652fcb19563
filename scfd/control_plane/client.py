"""HTTP to the control plane: one POST of JSON, one response, within a time limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from scfd.control_plane.signing import Signer
from scfd.events.long_json import LONG
from scfd.events.wire import to_json

if TYPE_CHECKING:
    from twisted.web.iweb import IResponse

#: Bytes that a response body may have; a list of 100,000 tasks is about 20 MiB.
MAX_RESPONSE = 32 << 20


@frozen
class ServerResponse:
    """
    :ivar status: the HTTP status code.
    :ivar body: the whole body, as it was sent.
    :ivar trpc_ret: the header ``Trpc-Ret``, which errors of a server's RPC framework have.
    """

    status: int
    body: bytes
    trpc_ret: str = ""


class ControlPlaneClient:
    """
    :param http: a treq client; keeps its connections open between requests.
    :param clock: for the time limits.
    :param signer: signs each request, where the control plane asks for it.
    """

    def __init__(self, http: Any, clock: IReactorTime, signer: Signer | None = None) -> None:
        self._http = http
        self._clock = clock
        self._signer = signer

    def post(self, url: str, value: object, timeout: float) -> Deferred[ServerResponse]:
        """
        :param timeout: seconds for the whole exchange.
        :returns: a Deferred of the `ServerResponse`, for any HTTP status. It fails with
            `twisted.internet.defer.TimeoutError`, or as `twisted.web.client.Agent.request` does.
        """
        response = Deferred.fromCoroutine(self._post(url, to_json(value)))
        return response.addTimeout(timeout, self._clock, _took_too_long)

    async def _post(self, url: str, body: bytes) -> ServerResponse:
        headers = Headers({"Content-Type": ["application/json"]})
        if self._signer is not None:
            headers.setRawHeaders("Auth", [self._signer.sign(body)])
        request = self._http.post(url, data=body, headers=headers, allow_redirects=False, unbuffered=True)
        response = await cancellable(request)
        trpc_ret = response.headers.getRawHeaders("Trpc-Ret", [""])[0]
        return ServerResponse(response.code, await read_body(response, MAX_RESPONSE), trpc_ret)


def _took_too_long(_: Any, seconds: float) -> Any:
    raise TimeoutError(f"no response after {seconds:g} s")


T = TypeVar("T")


def cancellable(request: Deferred[T]) -> Deferred[T]:
    """
    Make the Deferred of an `Agent` fail with `CancelledError` when it is cancelled.

    The agent fails it with other errors, which neither ``addTimeout`` nor ``except CancelledError``
    recognises as a cancellation.
    """
    return request.addErrback(_unwrapped)


def _unwrapped(failure: Failure) -> Failure:
    reasons = getattr(failure.value, "reasons", ())
    if failure.check(ConnectingCancelledError) or any(reason.check(CancelledError) for reason in reasons):
        return Failure(CancelledError())
    return failure


class BodyTooLongError(Exception):
    """A peer sent a longer body than is accepted."""


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
        if self.whole.called:
            return
        self._length += len(data)
        if self._length <= self._limit:
            self._parts.append(data)
        else:
            self._parts.clear()
            self.whole.errback(BodyTooLongError(f"the response is longer than {self._limit >> 20} MiB"))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Whoever has made the request has imported them.
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.whole.called:
            return
        # PotentialDataLoss: a body without a length ends where its connection does.
        if reason.check(ResponseDone, PotentialDataLoss):
            if self._length < LONG:
                self.whole.callback(b"".join(self._parts))
            else:  # 20 MiB take 10 ms, in which other threads run
                deferToThread(b"".join, self._parts).chainDeferred(self.whole)
        else:
            self.whole.errback(reason)
