"""Requests to a plugin behind HTTP, over connections that are kept open."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast
from urllib.parse import SplitResult, urljoin, urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from scfd.deferreds import TimeLimits
from scfd.errors import PluginError
from scfd.http1.contract import (
    BadResponseError,
    ConnectError,
    ConnectTimeoutError,
    DisconnectedError,
    NoResourcesError,
    ResponseHead,
    Upstream,
    UpstreamError,
)
from scfd.http1.pool import Pool

#: Bytes from which a part of a request is sent on its own: to copy less is cheaper than a system call.
LONG = 16 * 1024
#: Bytes of a response to GET /health, which nobody reads.
LONGEST_HEALTH = 1 << 20

#: Redirects that keep the method and the body; those of a GET; how many of them are followed in a row.
_SAME_METHOD, _OF_A_GET, MOST_REDIRECTS = (307, 308), (301, 302, 303, 307, 308), 5
#: Characters of a response that a message shows.
SHOWN = 200
_SENDABLE = re.compile(r"/[!-~]*")

_KINDS: Mapping[type[UpstreamError], str] = {
    ConnectTimeoutError: "connect timeout",
    NoResourcesError: "no resources",
    ConnectError: "connect",
    BadResponseError: "bad response",
    DisconnectedError: "broken",
}


@frozen
class PluginResponse:
    """
    :ivar body: the whole of it.
    :ivar location: what a redirect names.
    """

    status: int
    body: bytes
    location: str = ""

    def __str__(self) -> str:
        """The status, and the location without its query, which may hold secrets."""
        where = self.location.partition("?")[0][:SHOWN]
        return f"HTTP status {self.status}" + (
            f": Location {where!r}, which is not followed" if where else ""
        )


class RequestError(PluginError):
    """
    A request got no response.

    :ivar kind: what kind of failure it was, in a word or two, for the metrics.
    :ivar sent: whether the plugin may have seen the request.
    """

    def __init__(self, kind: str, text: str, sent: bool) -> None:
        super().__init__(text)
        self.kind = kind
        self.sent = sent


class PluginClient:
    """
    :param url: the plugin's base URL, without a trailing slash.
    :param pool: for events.
    :param health_pool: for health checks: they need not wait for events, and each makes a connection of its
        own, since one that is kept would keep events from a plugin that serves one connection at a time.
    :param max_response: bytes that the response to an event may have.
    :ivar activity: of the plugin, on all connections of the node.
    """

    def __init__(
        self, url: str, pool: Pool, health_pool: Pool, max_response: int, clock: IReactorTime
    ) -> None:
        parts = urlsplit(url)
        host, path = parts.netloc.encode(), parts.path.encode()
        self.activity = pool.activity
        self._pool = pool
        self._health_pool = health_pool
        self._max_response = max_response
        self._time_limits = TimeLimits(clock)
        self._health = b" HTTP/1.1\r\nHost: %b\r\nAccept: */*\r\nConnection: close\r\n\r\n" % host
        self._url, self._path = url, path
        self._event = (
            b" HTTP/1.1\r\nHost: %b\r\nAccept: application/json\r\nContent-Type: application/json\r\n" % host
        )

    def get_health(self, timeout: float) -> Deferred[PluginResponse]:
        """
        ``GET /health``. A redirect to the same origin is followed.

        :param timeout: seconds.
        :returns: a Deferred that fails with `RequestError`. Cancelling it closes the connection.
        """
        parts = [b"GET " + self._path + b"/health" + self._health]
        request = _Request(parts, LONGEST_HEALTH, timeout, self._health_pool, self._time_limits)
        request.follow = self._check_elsewhere
        request.followed, request.url = _OF_A_GET, self._url + "/health"
        return request.response

    def _check_elsewhere(self, target: bytes) -> list[bytes]:
        self._health_pool.close_idle()  # a plugin that was asked to close its connection may just do that
        return [b"GET " + target + self._health]

    def post_event(
        self, body: Sequence[bytes], timeout: float, traceparent: str = "", path: str = "/on-trigger"
    ) -> Deferred[PluginResponse]:
        """
        ``POST``, once: whether the plugin acts on a request without a response is not known.

        A redirect that keeps the method (307, 308) to the same origin is followed.

        :param body: its parts.
        :param timeout: seconds, those until there is a connection included.
        :param traceparent: as W3C Trace Context has it; empty for none.
        :param path: below the plugin's URL.
        :returns: as `get_health`.
        """
        length = sum(map(len, body))
        trace = b"traceparent: %b\r\n" % traceparent.encode() if traceparent else b""
        rest = b"%b%bContent-Length: %d\r\n\r\n" % (self._event, trace, length)
        parts = _joined([b"POST %b%b%b" % (self._path, path.encode(), rest), *body])
        request = _Request(parts, self._max_response, timeout, self._pool, self._time_limits)
        request.follow = lambda target: _joined([b"POST %b%b" % (target, rest), *body])
        request.url = self._url + path
        return request.response

    def is_listening(self) -> Deferred[bool]:
        """:returns: a Deferred of whether anybody accepts connections there."""
        return self.get_health(1.0).addCallbacks(lambda response: True, _was_connected)

    def close(self) -> None:
        """Close the connections that are idle, and the others when they are done."""
        self._pool.close()
        self._health_pool.close()


def _joined(parts: Sequence[bytes]) -> list[bytes]:
    """The same bytes in as few parts as can be had without copying long ones."""
    joined: list[bytes] = []
    short: list[bytes] = []
    for part in parts:
        if len(part) < LONG:
            short.append(part)
        else:
            joined += b"".join(short), part
            short = []
    joined.append(b"".join(short))
    return joined


def _location(head: ResponseHead) -> str:
    values = [value for name, value in head.headers if name.lower() == b"location"]
    return values[0].strip().decode("latin-1") if len(values) == 1 else ""


def _joined_url(base: str, location: str) -> str:
    """:returns: a URL of the same origin; empty where the location is none, or can't be sent."""
    try:
        url = urljoin(base, location)
        one, other = urlsplit(url), urlsplit(base)
        same = (one.scheme, one.hostname, _port(one)) == (other.scheme, other.hostname, _port(other))
    except ValueError:  # of the host or the port
        return ""
    return url if same and location and _SENDABLE.fullmatch(_target(one)) else ""


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _was_connected(failure: Failure) -> bool:
    failure.trap(RequestError)
    return cast(RequestError, failure.value).sent


class _Request:
    """
    One request with its whole body, and its whole response.

    :ivar response: fires with a `PluginResponse`.
    :ivar url: where it is sent, for redirects.
    :ivar follow: makes the parts of the same request for another target; None to follow no redirect.
    :ivar followed: the statuses of redirects that are followed.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_length",
        "_limit",
        "_location",
        "_parts",
        "_pool",
        "_status",
        "_time_limits",
        "_timeout",
        "_turns",
        "follow",
        "followed",
        "response",
        "url",
    )

    def __init__(
        self, parts: Sequence[bytes], limit: int, timeout: float, pool: Pool, time_limits: TimeLimits
    ) -> None:
        self._parts = parts
        self._limit = limit
        self._timeout = timeout
        self._pool = pool
        self._time_limits = time_limits
        self._connection: Upstream | None = None
        self._status = self._length = self._turns = 0
        self._location = self.url = ""
        self.follow: Callable[[bytes], Sequence[bytes]] | None = None
        self.followed: Collection[int] = _SAME_METHOD
        self._body: list[bytes] = []
        self.response: Deferred[PluginResponse] = Deferred(self._give_up)
        time_limits.start(timeout, self._timed_out)
        pool.submit(self)

    def on_connection(self, connection: Upstream) -> None:
        self._connection = connection
        head, *rest = self._parts
        connection.send(head)
        for part in rest:
            connection.write(part)
        connection.end()

    def on_informational(self, head: ResponseHead) -> None:
        """Nothing that was asked for."""

    def on_head(self, head: ResponseHead) -> None:
        self._status = head.status
        if 300 <= head.status < 400:
            self._location = _location(head)

    def on_data(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= self._limit:
            self._body.append(data)
        elif self._connection is not None:
            self._give_up()
            self._failed("too long", f"the response is longer than {self._limit} bytes")

    def on_read(self) -> None:
        """Nobody waits for a part of the response."""

    def on_end(self) -> None:
        self._connection = None
        if self._status in self.followed and self._redirected():
            self._pool.submit(self)
            return
        self._time_limits.stop(self._timed_out)
        self.response.callback(PluginResponse(self._status, b"".join(self._body), self._location))

    def _redirected(self) -> bool:
        """Prepare the request for another target. :returns: whether the redirect is one to follow."""
        url = _joined_url(self.url, self._location)
        if self.follow is None or not url or self._turns == MOST_REDIRECTS:
            return False
        self._turns += 1
        self._parts, self.url = self.follow(_target(urlsplit(url)).encode()), url
        self._status = self._length = 0
        self._location = ""
        self._body.clear()
        return True

    def on_failure(self, error: UpstreamError) -> None:
        kind = next(kind for cls, kind in _KINDS.items() if isinstance(error, cls))
        sent = error.sent if isinstance(error, DisconnectedError) else not isinstance(error, ConnectError)
        self._failed(kind, str(error), sent)

    def on_writable(self, writable: bool) -> None:
        """The body is in memory anyway."""

    def _timed_out(self) -> None:
        kind, text = "timeout", "no whole response" if self._status else "no response"
        sent = self._connection is not None
        if not sent:
            kind = text = "no connection"
        self._give_up()
        self._failed(kind, f"{text} after {self._timeout:g} s", sent)

    def _give_up(self, _: object = None) -> None:
        self._time_limits.stop(self._timed_out)
        if self._connection is None:
            self._pool.withdraw(self)
        else:
            self._connection.abort()

    def _failed(self, kind: str, text: str, sent: bool = True) -> None:
        self._time_limits.stop(self._timed_out)
        self._connection = None
        self.response.errback(RequestError(kind, text, sent))
