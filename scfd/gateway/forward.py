"""Forwards what the gateway does not answer itself to the plugin's process."""

from __future__ import annotations

from io import BytesIO

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http import NO_BODY_CODES, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from scfd.errors import describe
from scfd.exchange import cancellable
from scfd.inflight import InFlight
from scfd.web import Response, write_response

_log = Logger(namespace="scfd.gateway")

#: RFC 9110 section 7.6.1, and the older ones that it names.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
    )
)


def end_to_end(headers: Headers) -> Headers:
    """The headers that are meant for the far end, repeated ones in their order."""
    named = {
        token.strip().lower()
        for value in headers.getRawHeaders(b"connection", [])
        for token in value.split(b",")
    }
    kept = Headers()
    for name, values in headers.getAllRawHeaders():
        if name.lower() not in HOP_BY_HOP | named:
            kept.setRawHeaders(name, values)
    return kept


def forwarded_headers(request: Request) -> Headers:
    """What the plugin gets: the caller's headers, and who the caller is."""
    headers = end_to_end(request.requestHeaders)
    headers.removeHeader(b"content-length")
    client = request.getClientAddress()
    headers.addRawHeader(b"X-Forwarded-For", getattr(client, "host", "unknown").encode())
    headers.setRawHeaders(b"X-Forwarded-Proto", [b"https" if request.isSecure() else b"http"])
    host = request.requestHeaders.getRawHeaders(b"host")
    if host:
        headers.setRawHeaders(b"X-Forwarded-Host", host[:1])
    headers.setRawHeaders(b"gateway-tag", [b"forward"])
    return headers


class Forwarder(Resource):
    """
    :param base_url: of the plugin's process.
    :param timeout: seconds until the plugin's answer begins.
    :param in_flight: where the exchanges under way are counted.
    """

    isLeaf = True

    def __init__(
        self, agent: IAgent, base_url: str, timeout: float, in_flight: InFlight, clock: IReactorTime
    ) -> None:
        super().__init__()
        self._agent = agent
        self._base_url = base_url.encode()
        self._timeout = timeout
        self._clock = clock
        self._in_flight = in_flight

    def render(self, request: Request) -> int:
        exchange = Deferred.fromCoroutine(self._forward(request))
        request.notifyFinish().addErrback(lambda gone: exchange.cancel())
        self._in_flight.add(exchange).addErrback(self._unexpected)
        return NOT_DONE_YET

    def _unexpected(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("a request could not be forwarded", failure)

    async def _forward(self, request: Request) -> None:
        assert request.content is not None, "a whole request has been read"
        body = request.content.read()
        try:
            answer = self._agent.request(
                request.method,
                self._base_url + request.uri,
                forwarded_headers(request),
                FileBodyProducer(BytesIO(body)) if body else None,
            )
            response = await cancellable(answer).addTimeout(self._timeout, self._clock)
        except (TimeoutError, ConnectTimeout):
            write_response(Response.json({"message": "the plugin did not answer in time"}, 504), request)
            return
        except CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, ConnectError):
                _log.warn("a forwarded request failed: {error}", error=describe(error))
            write_response(Response.json({"message": "the plugin can't be reached"}, 502), request)
            return
        await self._answer(request, response)

    async def _answer(self, request: Request, response: IResponse) -> None:
        request.setResponseCode(response.code, response.phrase)
        request.responseHeaders.removeHeader(b"content-type")
        for name, values in end_to_end(response.headers).getAllRawHeaders():
            request.responseHeaders.setRawHeaders(name, values)
        # Without a body the agent says 0, whatever the length of what a GET would answer.
        bodiless = request.method == b"HEAD" or response.code in NO_BODY_CODES
        if isinstance(response.length, int) and not bodiless:
            request.setHeader(b"Content-Length", b"%d" % response.length)
        copy = _Copy(request)
        response.deliverBody(copy)
        await copy.finished


class _Copy(Protocol):
    """
    Copies a body to the caller, no faster than the caller reads it.

    :ivar finished: a Deferred that fires at the end; cancelling it closes the connection.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.finished: Deferred[None] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        assert self.transport is not None, "a body that is being read has a connection"
        self.transport.loseConnection()

    def connectionMade(self) -> None:
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return  # the caller is gone
        self._request.unregisterProducer()
        if reason.check(ResponseDone, PotentialDataLoss):
            self._request.finish()
        else:
            # Half an answer must not look like a whole one.
            self._request.loseConnection()
        self.finished.callback(None)
