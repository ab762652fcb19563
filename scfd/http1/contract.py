"""What the parts of the engine know of each other: values, errors and protocols. Imports no other part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from attrs import define, field, frozen

_NONE: frozenset[bytes] = frozenset()


class RefusedError(Exception):
    """
    A request that is not served; the connection is closed after the response.

    :ivar status: of the response.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UpstreamError(Exception):
    """A request got no whole response. The text says why, for a person."""


class ConnectError(UpstreamError):
    """No connection could be made: nothing has been sent."""


class ConnectTimeoutError(ConnectError):
    """No connection could be made in time."""


class NoResourcesError(ConnectError):
    """This side can't make a connection: it has no file descriptor, memory, port or address for it."""


class DisconnectedError(UpstreamError):
    """
    The connection ended before the response did.

    :ivar responded: whether a byte of the response had arrived.
    :ivar sent: whether a byte of the request may have arrived there.
    """

    def __init__(self, text: str, responded: bool, sent: bool = True) -> None:
        super().__init__(text)
        self.responded = responded
        self.sent = sent


class BadResponseError(UpstreamError):
    """What arrived is not HTTP/1.1, or can't be passed on."""


@define(eq=False)
class Request:
    """
    The head of a request.

    :ivar target: path and query as they came, or ``*``.
    :ivar minor: the version is HTTP/1.0 or HTTP/1.1.
    :ivar headers: names and values as they came, in their order.
    :ivar dropped: names that ``Connection`` lists, in lower case: they are not passed on.
    :ivar host: None where an HTTP/1.0 caller sent none.
    :ivar length: bytes of the body; None when it is chunked.
    :ivar keep_alive: whether the caller wants to send further requests.
    :ivar upgrade: the protocol that it wants to change to; empty for none.
    :ivar request_id: what the caller or the platform calls the request; empty for nothing usable.
    """

    method: bytes
    target: bytes
    minor: int
    headers: list[tuple[bytes, bytes]]
    dropped: Collection[bytes] = _NONE
    host: bytes | None = None
    length: int | None = 0
    keep_alive: bool = True
    upgrade: bytes = b""
    expects_continue: bool = False
    request_id: bytes = b""

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]


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


@frozen
class WholeResponse:
    """A status code, a body, and headers besides Content-Length, Date and Connection."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)


# The client side.


class Upstream(Protocol):
    """
    A connection to a server, as the request that uses it sees it.

    :ivar reused: whether it has served other requests: the server may have closed the idle connection just
        when this one was sent.
    """

    reused: bool

    def send(self, head: bytes, bodiless: bool = False, upgradable: bool = False) -> None:
        """
        Send the head of the request, together with the beginning of its body where that is at hand.

        :param head: as it goes over the wire, with the empty line at its end.
        :param bodiless: that the response has no body whatever its headers say, as to a HEAD.
        :param upgradable: that the response may be 101.
        """

    def write(self, data: bytes) -> None:
        """Send more of the body, framed as it goes over the wire."""

    def end(self) -> None:
        """Say that the request has been sent whole."""

    def pause_reading(self) -> None:
        """Back-pressure: read no more of the response."""

    def resume_reading(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Give the request up, and the connection with it. The request hears no more of it."""

    def close(self) -> None:
        """Close a tunnel once everything has been sent."""


class Exchange(Protocol):
    """
    One request and its response, seen from the request's owner.

    After ``on_end`` or ``on_failure`` nothing follows, and the connection is somebody else's.
    """

    def on_connection(self, connection: Upstream) -> None:
        """A connection is there: send the request. It may come while `Pool.submit` is still running."""

    def on_informational(self, head: ResponseHead) -> None:
        """A response before the response: any status 1xx but 101."""

    def on_head(self, head: ResponseHead) -> None:
        """
        The response begins. After a 101 the connection is a tunnel: ``on_data`` gets the bytes as they
        come, and ``write`` takes them as they are to go.
        """

    def on_data(self, data: bytes) -> None:
        """A part of the body, without the framing of chunks."""

    def on_read(self) -> None:
        """Everything that has arrived so far has been passed, and more is to come: write it on in one go."""

    def on_end(self) -> None:
        """
        The response is complete. It may be before the request is: then the server does not want to
        read the rest, and the connection is closed.
        """

    def on_failure(self, error: UpstreamError) -> None:
        """There is no response, or the rest of it is missing."""

    def on_writable(self, writable: bool) -> None:
        """Back-pressure: whether the server keeps up with the body of the request."""


# The server side.


class Caller(Protocol):
    """Who has sent a request, as its responder sees it."""

    @property
    def may_stay(self) -> bool:
        """Whether the connection may serve another request after this response."""

    def begin(self, status: int) -> None:
        """Say that a response begins; with 101, that the connection is a tunnel from here on."""

    def write(self, data: bytes) -> None:
        """Send something."""

    def finish(self, stay: bool) -> None:
        """Say that the response is complete, and whether the connection stays open."""

    def respond(self, response: WholeResponse) -> None:
        """Send a whole response."""

    def fail(self, status: int, message: str) -> None:
        """Send an error as the response; in the middle of one, break off."""

    def break_off(self) -> None:
        """Reset the connection at once: half a response must not look like a whole one."""

    def pause_body(self, paused: bool) -> None:
        """Back-pressure: hold the request's body back, or let it come."""


class Responder(Protocol):
    """
    Responds to one request. It ends with a call of `Caller.finish`, `respond`, `fail` or `break_off`, or when
    it is abandoned; after that nothing is called any more.
    """

    def start(self) -> None:
        """Begin; the head of the request is known."""

    def on_body(self, data: bytes) -> None:
        """A part of the request's body; or of what goes through the tunnel."""

    def on_body_end(self) -> None:
        """The body is complete. Not called for requests that have none."""

    def flush(self) -> None:
        """Everything that has arrived so far has been passed: send it on."""

    def on_caller_writable(self, writable: bool) -> None:
        """Back-pressure: whether the caller keeps up with the response."""

    def abandon(self) -> None:
        """The caller is gone, or somebody else has responded."""


class Backend(Protocol):
    """Responds to requests."""

    def responder(self, caller: Caller, request: Request, identity: bytes) -> Responder:
        """
        :param identity: of the caller: see `scfd.http1.heads.ForwardingHeaders.identity`.
        :raises RefusedError: to have the request refused.
        """

    def close(self) -> None:
        """Keep nothing open any more."""


#: A responder for the requests that are served even while the server drains or has too many connections;
#: None for all others, which go to the backend.
LocalResponders = Callable[[Caller, Request], "Responder | None"]


class Observer(Protocol):
    """Hears what happens, for metrics and logs."""

    def refused(self) -> object:
        """A connection beyond ``max_connections`` has come."""

    def ended(self, address: str, request: Request | None, status: int, sent: int, seconds: float) -> object:
        """
        A request has got its response, or its caller has left.

        :param address: the caller's.
        :param request: None for one that could not be read.
        :param status: 499 for a caller who left before the response began.
        :param sent: bytes of the response, its head included.
        """


class Limits(Protocol):
    """What a server grants its callers. Times are in seconds, sizes in bytes."""

    @property
    def max_header(self) -> int:
        """Of request line and headers."""

    @property
    def header_timeout(self) -> float:
        """In which these have to arrive."""

    @property
    def max_body(self) -> int:
        """Of a request."""

    @property
    def body_timeout(self) -> float:
        """Without a byte after which a body, or a tunnel, is given up."""

    @property
    def forward_timeout(self) -> float:
        """From the end of the request to the beginning of the response."""

    @property
    def idle_timeout(self) -> float:
        """That a connection is kept between requests."""

    @property
    def max_connections(self) -> int:
        """Of callers."""
