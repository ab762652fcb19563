"""Heads of messages as they go over the wire: to the plugin, and back to the caller."""

from __future__ import annotations

from http import HTTPStatus

from scfd.gateway.request import HOP_BY_HOP, Request
from scfd.http1.contract import ResponseHead

_NOT_FORWARDED = HOP_BY_HOP | {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"gateway-tag"}
#: What `Connection` says without meaning another header; nor does it mean the length of the body.
_PLAIN_OPTIONS = frozenset((b"", b"close", b"keep-alive", b"upgrade", b"content-length"))
#: What an answer of the gateway itself says for a status.
PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}


def identity(address: str, secure: bool) -> bytes:
    """What the plugin is told of a caller with every request: the value of X-Forwarded-For, and lines."""
    proto = b"https" if secure else b"http"
    return b"%b\r\nX-Forwarded-Proto: %b\r\ngateway-tag: forward\r\n" % (address.encode(), proto)


def to_plugin(request: Request, base_path: bytes, plugin_host: bytes, identity: bytes) -> bytes:
    """
    The head of the request that the plugin gets.

    :param base_path: what stands in front of the target; without a slash at its end.
    :param plugin_host: for an HTTP/1.0 caller that named no host.
    :param identity: see `identity`.
    """
    target = request.target if request.target == b"*" else base_path + request.target
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method, target)]
    if request.host is None:
        lines.append(b"Host: %b\r\n" % plugin_host)
    addresses = b""
    names_id = False
    dropped = request.dropped
    for name, value in request.headers:
        lowered = name.lower()
        if lowered in _NOT_FORWARDED or lowered in dropped:
            if lowered == b"x-forwarded-for" and value:
                addresses += value + b", "
            continue
        names_id = names_id or lowered == b"x-request-id"
        lines += (name, b": ", value, b"\r\n")
    if request.length is None:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    if not names_id:
        lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
    lines.append(b"X-Forwarded-For: %b%b" % (addresses, identity))
    if request.host is not None:
        lines.append(b"X-Forwarded-Host: %b\r\n" % request.host)
    lines.append(b"\r\n")
    return b"".join(lines)


def to_caller(head: ResponseHead, request: Request, chunked: bool, stay: bool) -> bytes:
    """
    The head of the answer that the caller gets.

    :param chunked: that the body goes in chunks.
    :param stay: that the connection stays open.
    """
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    dropped: set[bytes] = set()
    names_id = False
    for name, value in head.headers:
        lowered = name.lower()
        if lowered not in HOP_BY_HOP:
            names_id = names_id or lowered == b"x-request-id"
            lines += (name, b": ", value.rstrip(b" \t"), b"\r\n")
        elif lowered == b"connection":
            dropped.update(option.strip().lower() for option in value.split(b","))
        elif lowered == b"upgrade" and head.status == 101:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % value)
    if not dropped <= _PLAIN_OPTIONS:
        dropped = dropped - _PLAIN_OPTIONS | {b"connection"}
        head.headers = [(name, value) for name, value in head.headers if name.lower() not in dropped]
        return to_caller(head, request, chunked, stay)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if head.status >= 200:
        if not names_id:
            lines.append(b"X-Request-Id: %b\r\n" % request.request_id)
        lines.append(persistence(request, stay))
    lines.append(b"\r\n")
    return b"".join(lines)


def persistence(request: Request, stay: bool) -> bytes:
    """What has to be said about the connection, given what its version takes for granted."""
    if not stay:
        return b"Connection: close\r\n"
    return b"" if request.minor == 1 else b"Connection: keep-alive\r\n"
