"""Forwards a request to an upstream server, and its response back, both as they come."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from scfd.http1.contract import (
    Caller,
    ConnectError,
    ConnectTimeoutError,
    DisconnectedError,
    Request,
    ResponseHead,
    Upstream,
    UpstreamError,
)
from scfd.http1.heads import Route, to_caller, to_upstream
from scfd.http1.pool import Pool

_log = Logger(namespace="scfd.http1")

#: Methods whose requests may be sent twice: RFC 9110, section 9.2.2.
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
_BODILESS = (204, 304)
_SIZED = len(b"content-length")
_LAST_CHUNK = b"0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
#: Bytes of chunked requests that are kept at once until each is whole; further ones go on as they come.
MOST_KEPT = 64 * 1024 * 1024


class Forwarder:
    """
    A `scfd.http1.contract.Backend`: every request goes to one HTTP server.

    :param request_buffer: bytes up to which a chunked body is kept until it is whole, to go on with a
        Content-Length: many servers read no other body.
    :param retried: called when a request is sent a second time.
    :ivar kept: bytes that are kept so.
    """

    def __init__(
        self, pool: Pool, route: Route, request_buffer: int = 0, retried: Callable[[], object] = lambda: None
    ) -> None:
        self.pool = pool
        self.route = route
        self.request_buffer = request_buffer
        self.retried = retried
        self.kept = 0

    def responder(self, caller: Caller, request: Request, identity: bytes) -> Forward:
        return Forward(self, caller, request, identity)

    def close(self) -> None:
        self.pool.close()


class Forward:
    """
    One request between a caller and the upstream server: `Responder` to the one, `Exchange` to the other.

    What arrives in one read goes on in one write, each way.
    """

    # What a request begins with; as attributes of the class, they cost each request nothing.
    _connection: Upstream | None = None
    #: Made when the request is sent, and kept for a second try.
    _head = b""
    _head_sent = _body_begun = _retried = False
    _request_end = b""
    #: Bytes of a chunked body that is not whole yet; None once the request is on its way.
    _kept: int | None = None
    _response_head = b""
    _chunked = _stay = _tunnel = False
    _starting = _over = False

    def __init__(self, forwarder: Forwarder, caller: Caller, request: Request, identity: bytes) -> None:
        self._forwarder = forwarder
        self._caller = caller
        self._request = request
        self._identity = identity
        self._request_complete = request.length == 0
        self._request_chunked = request.length is None
        self._request_body: list[bytes] = []
        self._response_body: list[bytes] = []

    # From the caller.

    def start(self) -> None:
        forwarder, request = self._forwarder, self._request
        if request.length is None and forwarder.request_buffer and forwarder.kept < MOST_KEPT:
            self._kept = 0
            if request.expects_continue:
                request.headers = [pair for pair in request.headers if pair[0].lower() != b"expect"]
                self._caller.write(_CONTINUE)
        else:
            self._submit(None)

    def _submit(self, length: int | None) -> None:
        """
        Have the request sent.

        :param length: of its body, where that was chunked and is whole.
        """
        self._head = to_upstream(self._request, self._forwarder.route, self._identity, length)
        self._starting = True
        self._forwarder.pool.submit(self)
        self._starting = False
        if self._connection is None and not self._over:
            self._caller.pause_body(True)

    def on_body(self, data: bytes) -> None:
        self._request_body.append(data)
        if self._kept is not None:
            self._kept += len(data)
            self._forwarder.kept += len(data)

    def on_body_end(self) -> None:
        self._request_complete = True
        if self._kept is None and self._request_chunked:
            self._request_end = _LAST_CHUNK

    def flush(self) -> None:
        if self._kept is not None:
            self._end_keeping(self._kept)
        # A request without a body has been sent by now.
        if self._connection is not None and (self._request_body or self._request_end or not self._head_sent):
            self._send(self._connection)

    def _end_keeping(self, kept: int) -> None:
        """Send the request once its body is whole, or is too long to wait for that."""
        if kept > self._forwarder.request_buffer:
            self._request_end = _LAST_CHUNK if self._request_complete else b""
            self._forget_kept()
            self._submit(None)
        elif self._request_complete:
            self._request_chunked = False
            self._forget_kept()
            self._submit(kept)

    def _forget_kept(self) -> None:
        if self._kept is not None:
            self._forwarder.kept -= self._kept
            self._kept = None

    def on_caller_writable(self, writable: bool) -> None:
        if self._connection is None:
            return
        if writable:
            self._connection.resume_reading()
        else:
            self._connection.pause_reading()

    def abandon(self) -> None:
        self._over = True
        connection, self._connection = self._connection, None
        if self._kept is not None:
            self._forget_kept()
        elif connection is None:
            self._forwarder.pool.withdraw(self)
        elif self._tunnel:
            connection.close()  # what the caller has said last still gets there
        else:
            connection.abort()

    # From the upstream server.

    def on_connection(self, connection: Upstream) -> None:
        self._connection = connection
        self._head_sent = False
        if self._starting and self._request.length != 0:
            return  # the beginning of the body has come with the head: see `flush`
        self._send(connection)
        self._caller.pause_body(False)

    def _send(self, connection: Upstream) -> None:
        data = _framed(self._request_body, self._request_chunked) + self._request_end
        self._request_end = b""
        self._body_begun = self._body_begun or bool(data)
        if not self._head_sent:
            self._head_sent = True
            connection.send(self._head + data, self._request.method == b"HEAD", bool(self._request.upgrade))
        elif data:
            connection.write(data)
        if self._request_complete:
            connection.end()

    def on_writable(self, writable: bool) -> None:
        self._caller.pause_body(not writable)

    def on_informational(self, head: ResponseHead) -> None:
        if self._request.minor == 1:
            self._caller.write(to_caller(head, self._request, False, True))

    def on_head(self, head: ResponseHead) -> None:
        request = self._request
        self._tunnel = head.status == 101
        ends = self._tunnel or request.method == b"HEAD" or head.status in _BODILESS or _has_length(head)
        self._chunked = not ends and request.minor == 1
        self._stay = (ends or self._chunked) and self._caller.may_stay and not self._tunnel
        self._response_head = to_caller(head, request, self._chunked, self._stay)
        self._caller.begin(head.status)

    def on_data(self, data: bytes) -> None:
        self._response_body.append(data)

    def on_read(self) -> None:
        self._respond(b"")

    def _respond(self, end: bytes) -> None:
        data = self._response_head + _framed(self._response_body, self._chunked) + end
        self._response_head = b""
        if data:
            self._caller.write(data)

    def on_end(self) -> None:
        if self._over:
            return  # the end of a tunnel that the caller has left
        self._over = True
        self._connection = None
        self._respond(_LAST_CHUNK if self._chunked else b"")
        self._caller.finish(self._stay)

    def on_failure(self, error: UpstreamError) -> None:
        if self._over:
            return
        connection, self._connection = self._connection, None
        if self._may_retry(error, connection):
            self._retried = True
            self._forwarder.retried()
            self._forwarder.pool.submit(self)
            return
        self._over = True
        if isinstance(error, ConnectTimeoutError):
            self._caller.fail(504, "the upstream server did not respond in time")
            return
        if not isinstance(error, ConnectError):
            _log.warn("a forwarded request failed: {error}", error=str(error))
        self._caller.fail(502, "the upstream server can't be reached")

    def _may_retry(self, error: UpstreamError, connection: Upstream | None) -> bool:
        """Only where the server is likely to have closed an idle connection without seeing the request."""
        return (
            isinstance(error, DisconnectedError)
            and not error.responded
            and connection is not None
            and connection.reused
            and not self._body_begun
            and not self._retried
            and self._request.method in _IDEMPOTENT
        )


def _framed(parts: list[bytes], chunked: bool) -> bytes:
    """Take out what has come of a body, as it goes over the wire."""
    if not parts:
        return b""
    data = b"".join(parts)
    parts.clear()
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data


def _has_length(head: ResponseHead) -> bool:
    # By length first, and no generator: this runs for every header of every response.
    for name, _ in head.headers:  # noqa: SIM110
        if len(name) == _SIZED and name.lower() == b"content-length":
            return True
    return False
