"""What a caller asks for: the head of a request, read strictly."""

from __future__ import annotations

import re
from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from scfd.http1.contract import RefusedError, Request

#: Method, target and version. Methods are any token, since servers may have their own. Targets have no
#: white space and no fragment; bytes above ASCII are let through, as callers that forget to encode send them.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-\"$-~\x80-\xff]+) HTTP/1\.([01])\r\n")
_OTHER_VERSION = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/(?!1\.[01])[0-9]\.[0-9]\r\n")
_ABSOLUTE_FORM = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE | re.DOTALL)
#: A host name or an address, perhaps with a port (RFC 3986, section 3.2.2); without a user name.
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
#: What may go into logs and responses as the id of a request.
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

#: Headers that are for one connection only: RFC 9110 section 7.6.1, and the older ones.
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
#: What `Connection` can't take away: without them a message means something else.
_ESSENTIAL = frozenset((b"host", b"content-length"))
#: What the server itself looks at.
_READ = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"upgrade",
        b"expect",
        b"x-request-id",
        b"x-scf-request-id",
    )
)


def read_head(head: bytes) -> Request:
    """
    :param head: request line and headers, with the empty line at their end.
    :raises RefusedError: when it is no request, or one that two programs could read in two ways.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        _refuse_line(head)
    method, target, minor = line.groups()
    request = Request(method, target, int(minor), _headers(head, line.end()))
    if method == b"CONNECT":
        raise RefusedError(501, "this is no proxy for CONNECT")
    _read_headers(request)
    if not target.startswith(b"/"):
        _read_target(request)
    return request


def _refuse_line(head: bytes) -> NoReturn:
    if _OTHER_VERSION.match(head):
        raise RefusedError(505, "the HTTP version is neither 1.0 nor 1.1")
    raise RefusedError(400, "bad request line")


class _Collector:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves white space at the end.
        self.headers.append((name, value.rstrip(b" \t")))


def _headers(head: bytes, start: int) -> list[tuple[bytes, bytes]]:
    """
    llhttp checks and separates the headers. The request line is not its business: it knows only some
    methods, and is generous with spaces and versions.
    """
    collector = _Collector()
    try:
        HttpRequestParser(collector).feed_data(b"POST / HTTP/1.1\r\n" + head[start:])
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        # What it objects to is behind the last one, or in the coding that this one names.
        name, value = collector.headers[-1] if collector.headers else (b"", b"")
        if name.lower() == b"transfer-encoding" and value.lower() != b"chunked":
            raise RefusedError(501, "the transfer coding is not chunked") from None
        raise RefusedError(400, f"bad header: {error}") from None
    return collector.headers


def _read_headers(request: Request) -> None:
    options: set[bytes] = set()
    upgrade = b""
    ids: dict[bytes, bytes] = {}
    for name, value in request.headers:
        lowered = name.lower()
        if lowered not in _READ:
            continue
        if lowered == b"host":
            if request.host is not None or not _HOST.fullmatch(value):
                raise RefusedError(400, "bad or repeated Host")
            request.host = value
        elif lowered == b"content-length":
            request.length = int(value)
        elif lowered == b"transfer-encoding":
            _check_coding(request, value)
            request.length = None
        elif lowered == b"connection":
            options.update(option.strip().lower() for option in value.split(b","))
        elif lowered == b"upgrade":
            upgrade = value
        elif lowered == b"expect":
            request.expects_continue = request.minor == 1 and value.lower() == b"100-continue"
        elif _REQUEST_ID.fullmatch(value):
            ids.setdefault(lowered, value)
    if request.host is None and request.minor == 1:
        raise RefusedError(400, "no Host")
    if ids:
        request.request_id = ids.get(b"x-request-id") or ids[b"x-scf-request-id"]
    request.keep_alive = b"close" not in options and (request.minor == 1 or b"keep-alive" in options)
    if upgrade and b"upgrade" in options:
        request.upgrade = _accepted_upgrade(request, upgrade)
    if options:
        request.dropped = options - _ESSENTIAL


def _check_coding(request: Request, value: bytes) -> None:
    if request.minor == 0:
        raise RefusedError(400, "HTTP/1.0 has no transfer codings")
    if value.lower() != b"chunked":
        raise RefusedError(501, "the transfer coding is not chunked")


def _accepted_upgrade(request: Request, protocol: bytes) -> bytes:
    """
    A caller that is not let change goes on with HTTP/1.1, which it has to be ready for.

    HTTP/2 is not passed on (nothing could be seen of its requests, and RFC 9113 has given this up),
    and with a body the moment of the change would be in doubt.
    """
    if request.minor == 0 or request.length != 0 or protocol.lower().startswith(b"h2c"):
        return b""
    return protocol


def _read_target(request: Request) -> None:
    """The forms of RFC 9112, section 3.2, besides a path."""
    if request.target == b"*" and request.method == b"OPTIONS":
        return
    absolute = _ABSOLUTE_FORM.fullmatch(request.target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise RefusedError(400, "bad request target")
    host, rest = absolute.groups()
    if not rest and request.method == b"OPTIONS":
        rest = b"*"
    elif not rest.startswith(b"/"):
        rest = b"/" + rest
    request.target = rest
    # Section 3.2.2: whatever the Host says, the host of the target counts.
    request.host = host
    request.headers = [(name, host if name.lower() == b"host" else value) for name, value in request.headers]
