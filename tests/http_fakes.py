"""HTTP without ports: real protocols of both sides, joined to transports in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from twisted.web.resource import IResource
from twisted.web.server import Request
from zope.interface import implementer

from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.events.wire import from_json, to_json
from scfd.site import QuietSite
from scfd.web import DEFAULT_MAX_BODY


@frozen
class Received:
    """An HTTP response as its receiver reads it; header names in lower case, in the order they came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for known, value in self.headers if known == name]

    def json(self) -> Any:
        return from_json(self.body)


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def parse(data: bytes, method: str = "GET") -> Received:
    """Read exactly one response from bytes, as the answer to a request of some method."""
    stream = _Socket(data)
    response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]  # all it asks of a socket
    response.begin()
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Received(response.status, headers, response.read())


class Caller:
    """
    A connection to a site that serves a resource.

    :ivar transport: the site's end: what it wrote, and whether it closed.
    :ivar answered: the status of each request that the site has answered.
    """

    def __init__(self, resource: IResource, max_body: int = DEFAULT_MAX_BODY) -> None:
        self.answered: list[int] = []
        site = QuietSite(resource, self._note, max_body)
        site.reactor = Clock()
        self._channel = site.buildProtocol(None)
        self.transport: Any = StringTransport()
        self._channel.makeConnection(self.transport)

    def _note(self, request: Request) -> None:
        self.answered.append(request.code)

    def send(self, data: bytes) -> None:
        self._channel.dataReceived(data)

    def leave(self) -> None:
        """Break the connection off, as its transport does: first the producer, then the protocol."""
        if self.transport.producer is not None:
            self.transport.producer.stopProducing()
        self._channel.connectionLost(Failure(ConnectionDone()))

    def request(self, method: str, target: str, *headers: str, body: bytes = b"") -> Received:
        """Send a request and read the answer, which has to be there at once."""
        self.ask(method, target, *headers, body=body)
        return self.answer(method)

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> None:
        """Send a request."""
        host = [] if any(header.startswith("Host:") for header in headers) else ["Host: node.example:9000"]
        lines = [f"{method} {target} HTTP/1.1", *host, *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self, method: str = "GET") -> Received:
        """What the site has written, as one response; the next call begins after it."""
        return parse(self.taken(), method)

    def taken(self) -> bytes:
        """What the site has written, as it went over the wire; the next call begins after it."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def stall(self) -> None:
        """Read nothing more, until `go_on`."""
        self.transport.producer.pauseProducing()

    def go_on(self) -> None:
        self.transport.producer.resumeProducing()


class Wire(StringTransport):
    """A transport that tells when certain bytes have been written to it."""

    _awaited = b""
    _written: Deferred[None] | None = None

    def until(self, ending: bytes) -> Deferred[None]:
        """:returns: a Deferred that fires as soon as what was written ends with ``ending``."""
        if self.value().endswith(ending):
            return succeed(None)
        self._awaited, self._written = ending, Deferred()
        return self._written

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._written is not None and self.value().endswith(self._awaited):
            written, self._written = self._written, None
            written.callback(None)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: MemoryReactorClock) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - the interface's name
        endpoint: IStreamClientEndpoint = TCP4ClientEndpoint(self._reactor, uri.host.decode(), uri.port)
        return endpoint


@implementer(IBodyProducer)
class _AtOnce:
    """A body that is written in one go, without the help of a reactor."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class Peer:
    """
    Who a client speaks to: a real `Agent`, and the other end of its connections in the test's hand.

    :ivar reactor: the agent's clock and connections.
    :ivar accepted: the connection accepted last.
    :ivar taken: how many connections were accepted or refused.
    """

    def __init__(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.agent = Agent.usingEndpointFactory(self.reactor, _Endpoints(self.reactor))
        self.taken = 0

    def http(self) -> HTTPClient:
        """A treq client whose requests arrive here."""
        return HTTPClient(self.agent, data_to_body_producer=_AtOnce)

    def connections(self) -> int:
        """How many connections were asked for so far."""
        return len(self.reactor.tcpClients)

    def accept(self) -> Wire:
        """Accept the next connection."""
        factory = self.reactor.tcpClients[self.taken][2]
        self.taken += 1
        self._protocol: Any = factory.buildProtocol(None)
        self.accepted = Wire()
        self._protocol.makeConnection(self.accepted)
        return self.accepted

    def refuse(self, error: Exception) -> None:
        """Refuse the next connection."""
        factory = self.reactor.tcpClients[self.taken][2]
        self.taken += 1
        factory.clientConnectionFailed(None, Failure(error))

    def send(self, data: bytes) -> None:
        """Send something on the connection accepted last."""
        self._protocol.dataReceived(data)

    def close(self, error: Exception | None = None) -> None:
        """End the connection accepted last, cleanly where no error is given."""
        self._protocol.connectionLost(Failure(error or ConnectionDone()))


class FakeControlPlaneClient(ControlPlaneClient):
    """
    A client whose server is the test.

    :ivar posts: every (URL, decoded body, seconds allowed) so far.
    :ivar react: called with each body; its value is the answer, an exception to fail with, or a Deferred.
    """

    def __init__(
        self, react: Callable[[Any], Any] = lambda value: ServerResponse(200, b'{"code": 200}')
    ) -> None:
        self.posts: list[tuple[str, Any, float]] = []
        self.react = react

    def post(self, url: str, value: object, timeout: float) -> Deferred[ServerResponse]:
        assert url.startswith(("http://", "https://")), url
        assert timeout > 0, timeout
        decoded = from_json(to_json(value))
        self.posts.append((url, decoded, timeout))
        outcome = self.react(decoded)
        if isinstance(outcome, Deferred):
            return outcome
        answered: Deferred[ServerResponse] = Deferred()
        if isinstance(outcome, Exception):
            answered.errback(outcome)
        else:
            answered.callback(outcome)
        return answered
