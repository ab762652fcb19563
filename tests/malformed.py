"""
Messages that two readers could understand differently, by name: what request smuggling is made of.

Sources: RFC 9112 (sections 2.2, 3, 5, 6, 7, 11.2), the desync attacks on proxies published since 2019, and
what llhttp, which the gateway reads with, has let through in one version or another.
"""

from __future__ import annotations

#: What stands behind each request of the corpus. The plugin must never get to see it as a request.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n"
#: A body that would be a request, if it were taken for none.
_AS_BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /case HTTP/1.1", b"Host: a", *lines, b"", body))


def _get(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET /case HTTP/1.1", b"Host: a", *lines, b"", b""))


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: a\r\n\r\n"


def _chunks(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", body=body)


_CL5, _TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"

#: Their heads are wrong: nothing of them may reach the plugin.
BAD_HEADS = {
    # Two lengths.
    "length twice, the same": _post(_CL5, _CL5, body=b"hello"),
    "length twice, differing": _post(_CL5, b"Content-Length: 0", body=b"hello"),
    "length twice, in other letters": _post(_CL5, b"content-LENGTH: 0", body=b"hello"),
    "length as a list": _post(b"Content-Length: 5, 5", body=b"hello"),
    "length as a list, differing": _post(b"Content-Length: 0, 5", body=b"hello"),
    "length and chunked": _post(_CL5, _TE, body=_AS_BODY),
    "chunked and length": _post(_TE, _CL5, body=_AS_BODY),
    "length 0 and chunked": _post(b"Content-Length: 0", _TE, body=_AS_BODY),
    # Lengths that are no decimal numbers, or that overflow.
    "length with a plus": _post(b"Content-Length: +5", body=b"hello"),
    "negative length": _post(b"Content-Length: -5", body=b"hello"),
    "hexadecimal length": _post(b"Content-Length: 0x5", body=b"hello"),
    "length with a fraction": _post(b"Content-Length: 5.0", body=b"hello"),
    "length with an exponent": _post(b"Content-Length: 5e0", body=b"hello"),
    "length with an underscore": _post(b"Content-Length: 1_0", body=b"helloworld"),
    "length with a space inside": _post(b"Content-Length: 1 0", body=b"helloworld"),
    "length with letters behind": _post(b"Content-Length: 5abc", body=b"hello"),
    "length of other digits": _post("Content-Length: \u0665".encode(), body=b"hello"),
    "empty length": _post(b"Content-Length:", body=b"hello"),
    "length beyond 64 bits": _post(b"Content-Length: 18446744073709551621", body=b"hello"),
    "length beyond 64 bits, signed": _post(b"Content-Length: 9223372036854775808", body=b"hello"),
    "length with a tab before a second one": _post(b"Content-Length: 5\t0", body=b"hello"),
    "length with a vertical tab": _post(b"Content-Length: \x0b5", body=b"hello"),
    # Transfer codings.
    "coding with a vertical tab": _post(b"Transfer-Encoding: \x0bchunked", body=_AS_BODY),
    "chunked twice": _post(_TE, _TE, body=_AS_BODY),
    "chunked twice in one": _post(b"Transfer-Encoding: chunked, chunked", body=_AS_BODY),
    "chunked, then identity": _post(b"Transfer-Encoding: chunked, identity", body=_AS_BODY),
    "identity": _post(b"Transfer-Encoding: identity", body=SMUGGLED),
    "identity and length": _post(b"Transfer-Encoding: identity", _CL5, body=b"hello"),
    "gzip, chunked": _post(b"Transfer-Encoding: gzip, chunked", body=_AS_BODY),
    "two lines of codings": _post(_TE, b"Transfer-Encoding: identity", body=_AS_BODY),
    "two lines of codings, the other way": _post(b"Transfer-Encoding: identity", _TE, body=_AS_BODY),
    "unknown coding": _post(b"Transfer-Encoding: xchunked", body=_AS_BODY),
    "coding in quotes": _post(b'Transfer-Encoding: "chunked"', body=_AS_BODY),
    "coding with a parameter": _post(b"Transfer-Encoding: chunked;q=0.5", body=_AS_BODY),
    "empty coding": _post(b"Transfer-Encoding:", body=_AS_BODY),
    "empty coding and length": _post(b"Transfer-Encoding:", _CL5, body=b"hello"),
    "coding with a comma in front": _post(b"Transfer-Encoding: , chunked", body=_AS_BODY),
    "coding with a comma behind": _post(b"Transfer-Encoding: chunked,", body=_AS_BODY),
    "coding in a folded line": _post(b"Transfer-Encoding:\r\n chunked", body=_AS_BODY),
    "coding with a NUL": _post(b"Transfer-Encoding: chunked\0", body=_AS_BODY),
    "coding with a byte above ASCII": _post(b"Transfer-Encoding: chunked\xa0", body=_AS_BODY),
    "chunked of HTTP/1.0": b"POST /case HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + _AS_BODY,
    # Names of headers.
    "space before the colon": _post(b"Transfer-Encoding : chunked", body=_AS_BODY),
    "tab before the colon": _post(b"Content-Length\t: 5", body=b"hello"),
    "space before the colon of any header": _get(b"X : y"),
    "space in a name": _get(b"X Y: z"),
    "NUL in a name": _get(b"X\0Y: z"),
    "byte above ASCII in a name": _get(b"X\xe9: y"),
    "bracket in a name": _get(b"X[: y"),
    "empty name": _get(b": y"),
    "line without a colon": _get(b"Nothing"),
    "space in front of the first header": b"GET /case HTTP/1.1\r\n Host: a\r\n\r\n",
    "folded line": _get(b"X: y", b" Content-Length: 5"),
    "folded line with a tab": _get(b"X: y", b"\tContent-Length: 5"),
    "folded empty line": _get(b"X: y", b" "),
    # Ends of lines.
    "LF alone after a header": b"GET /case HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "LF alone after the request line": b"GET /case HTTP/1.1\nHost: a\r\n\r\n",
    "LF alone everywhere": b"GET /case HTTP/1.1\nHost: a\n\n",
    "LF alone as the empty line": b"GET /case HTTP/1.1\r\nHost: a\r\n\n",
    "CR alone after a header": b"GET /case HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "CR alone in a value": _get(b"X: y\rTransfer-Encoding: chunked"),
    "CR alone as the empty line": b"GET /case HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
    "CR CR LF": b"GET /case HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "NUL in a value": _get(b"X: a\0b"),
    "control byte in a value": _get(b"X: a\x01b"),
    "DEL in a value": _get(b"X: a\x7fb"),
    # Request lines.
    "HTTP/0.9": b"GET /case\r\n",
    "HTTP/0.9 with a header": _line(b"GET /case"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 2.0": _line(b"GET /case HTTP/2.0"),
    "version 1.2": _line(b"GET /case HTTP/1.2"),
    "version 0.9": _line(b"GET /case HTTP/0.9"),
    "version 1.10": _line(b"GET /case HTTP/1.10"),
    "version 01.1": _line(b"GET /case HTTP/01.1"),
    "version in small letters": _line(b"GET /case http/1.1"),
    "version of another protocol": _line(b"GET /case ICY/1.1"),
    "tabs in the request line": _line(b"GET\t/case\tHTTP/1.1"),
    "two spaces after the method": _line(b"GET  /case HTTP/1.1"),
    "two spaces before the version": _line(b"GET /case  HTTP/1.1"),
    "space at the end of the line": _line(b"GET /case HTTP/1.1 "),
    "space in front of the method": _line(b" GET /case HTTP/1.1"),
    "space in the target": _line(b"GET /ca se HTTP/1.1"),
    "two versions": _line(b"GET /smuggled HTTP/1.1 HTTP/1.1"),
    "vertical tab in the target": _line(b"GET /ca\x0bse HTTP/1.1"),
    "NUL in the target": _line(b"GET /ca\0se HTTP/1.1"),
    "fragment in the target": _line(b"GET /case#fragment HTTP/1.1"),
    "method that is no token": _line(b"GE(T /case HTTP/1.1"),
    "method with a NUL": _line(b"GET\0 /case HTTP/1.1"),
    "no method": _line(b"/case HTTP/1.1"),
    "no target": _line(b"GET HTTP/1.1"),
    "target without a slash": _line(b"GET case HTTP/1.1"),
    "target is an asterisk, but not for OPTIONS": _line(b"GET * HTTP/1.1"),
    "authority as target, but not for CONNECT": _line(b"GET a:80 HTTP/1.1"),
    "CONNECT": _line(b"CONNECT a:443 HTTP/1.1"),
    "CONNECT to a path": _line(b"CONNECT /case HTTP/1.1"),
    "other scheme": _line(b"GET ftp://a/case HTTP/1.1"),
    "absolute form without a host": _line(b"GET http:///case HTTP/1.1"),
    "absolute form with a user": _line(b"GET http://user@a/case HTTP/1.1"),
    "response in place of a request": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "TLS in place of HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "spaces for a head": b"   \r\n\r\n",
    # Hosts.
    "no Host": b"GET /case HTTP/1.1\r\n\r\n",
    "Host twice": b"GET /case HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "Host twice, the same": b"GET /case HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "Host with a path": b"GET /case HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with a user": b"GET /case HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "Host with a space": b"GET /case HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host as a list": b"GET /case HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "Host with a port that is none": b"GET /case HTTP/1.1\r\nHost: a:b\r\n\r\n",
    # Too much.
    "one long header": _get(b"X: " + b"y" * 200_000),
    "many headers": _get(*[b"X-%d: y" % number for number in range(20_000)]),
    "long target": _line(b"GET /" + b"a" * 200_000 + b" HTTP/1.1"),
    "long method": _line(b"G" * 200_000 + b" / HTTP/1.1"),
    "head without an end": b"GET /case HTTP/1.1\r\n" + b"X: y\r\n" * 50_000,
}

#: Their bodies are wrong: the plugin may get to see the head, but no whole request.
BAD_BODIES = {
    "size with 0x": _chunks(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "negative size": _chunks(b"-5\r\nhello\r\n0\r\n\r\n"),
    "size with a plus": _chunks(b"+5\r\nhello\r\n0\r\n\r\n"),
    "size with an underscore": _chunks(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "size that is no number": _chunks(b"g\r\nhello\r\n0\r\n\r\n"),
    "empty size": _chunks(b"\r\nhello\r\n0\r\n\r\n"),
    "size beyond 64 bits": _chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "space in front of the size": _chunks(b" 5\r\nhello\r\n0\r\n\r\n"),
    "space after the size": _chunks(b"5 \r\nhello\r\n0\r\n\r\n"),
    "tab after the size": _chunks(b"5\t\r\nhello\r\n0\r\n\r\n"),
    "two sizes": _chunks(b"5 0\r\nhello\r\n0\r\n\r\n"),
    "LF alone after the size": _chunks(b"5\nhello\r\n0\r\n\r\n"),
    "CR alone after the size": _chunks(b"5\rhello\r\n0\r\n\r\n"),
    "LF alone in an extension": _chunks(b"5;a\nhello\r\n0\r\n\r\n"),
    "LF in an extension, then a size": _chunks(b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SMUGGLED),
    "CR in an extension": _chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "NUL in an extension": _chunks(b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "LF alone after a chunk": _chunks(b"5\r\nhello\n0\r\n\r\n"),
    "CR alone after a chunk": _chunks(b"5\r\nhello\r0\r\n\r\n"),
    "no end of a chunk": _chunks(b"5\r\nhello0\r\n\r\n"),
    "chunk longer than its size": _chunks(b"5\r\nhelloworld\r\n0\r\n\r\n"),
    "LF alone after the last chunk": _chunks(b"0\n\r\n"),
    "LF alone as the end": _chunks(b"5\r\nhello\r\n0\r\n\n"),
    "LF alone in a trailer": _chunks(b"0\r\nX: y\n\r\n"),
    "space before a trailer's colon": _chunks(b"0\r\nX : y\r\n\r\n"),
    "folded trailer": _chunks(b"0\r\nX: y\r\n z\r\n\r\n"),
    "NUL in a trailer": _chunks(b"0\r\nX: \0\r\n\r\n"),
    "request in place of a trailer": _chunks(b"0\r\n" + SMUGGLED),
    "long extension": _chunks(b"5;" + b"a" * 200_000 + b"\r\nhello\r\n0\r\n\r\n"),
    "long size": _chunks(b"0" * 200_000 + b"5\r\nhello\r\n0\r\n\r\n"),
    "many trailers": _chunks(b"0\r\n" + b"X: y\r\n" * 50_000 + b"\r\n"),
}

#: Well formed, but of a kind that has been used to smuggle: one request, perhaps with another as its body, or
#: a refusal. Nothing stands behind these.
ONE_REQUEST = {
    "chunked in other letters": _post(b"tRANSFER-eNCODING: ChUnKeD", body=_AS_BODY),
    "length with zeros in front": _post(b"Content-Length: 00000%d" % len(SMUGGLED), body=SMUGGLED),
    "Connection names the length": _post(
        b"Connection: Content-Length", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
    ),
    "Connection names the coding": _post(b"Connection: close, Transfer-Encoding", _TE, body=_AS_BODY),
    "Connection names the Host": _post(
        b"Connection: host", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
    ),
    "length with an underscore in its name": _post(
        b"Content_Length: 0", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
    ),
    "coding with an underscore in its name": _post(
        b"Transfer_Encoding: chunked", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
    ),
    "length in a trailer": _chunks(_AS_BODY[:-2] + b"Content-Length: 0\r\n\r\n"),
    "coding in a trailer": _chunks(_AS_BODY[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"),
    "Host in a trailer": _chunks(_AS_BODY[:-2] + b"Host: b\r\n\r\n"),
    "quoted extension with the end of a body": _chunks(
        b'%x;a="0;;"\r\n%b\r\n0\r\n\r\n' % (len(SMUGGLED), SMUGGLED)
    ),
    "upgrade to h2c": _get(
        b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    ),
    "upgrade to h2c with a body": _post(
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Content-Length: %d" % len(SMUGGLED),
        body=SMUGGLED,
    ),
    "upgrade with a body": _post(
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Content-Length: %d" % len(SMUGGLED),
        body=SMUGGLED,
    ),
    "upgrade with chunks": _post(b"Connection: Upgrade", b"Upgrade: websocket", _TE, body=_AS_BODY),
    "upgrade that Connection does not name": _get(b"Upgrade: websocket"),
    "GET with a body": _get(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "HEAD with a body": b"HEAD /case HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
    % (len(SMUGGLED), SMUGGLED),
    "empty lines in front": b"\r\n\r\n" + _get(),
    "absolute form of another host": b"GET http://b/case HTTP/1.1\r\nHost: a\r\n\r\n",
    "expectation of something else": _post(b"Expect: 200-ok", b"Content-Length: 0"),
    "method in small letters": _line(b"get /case HTTP/1.1"),
}


def _response(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", body))


_POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

#: What a plugin may response, by mistake or because somebody has made it: the next request must not get it.
BAD_ANSWERS = {
    "length twice": _response(_CL5, b"Content-Length: 6", body=b"hello"),
    "length and chunked": _response(b"Content-Length: 3", _TE, body=b"5\r\nhello\r\n0\r\n\r\n"),
    "length that is no number": _response(b"Content-Length: x", body=b"hello"),
    "negative length": _response(b"Content-Length: -1", body=b"hello"),
    "length beyond 64 bits": _response(b"Content-Length: 18446744073709551621", body=b"hello"),
    "coding that is not chunked": _response(b"Transfer-Encoding: gzip", body=b"hello"),
    "chunked, then identity": _response(
        b"Transfer-Encoding: chunked, identity", body=b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "size that is no number": _response(_TE, body=b"x\r\nhello\r\n0\r\n\r\n"),
    "negative size": _response(_TE, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk longer than its size": _response(_TE, body=b"2\r\nhello\r\n0\r\n\r\n"),
    "LF alone after a header": b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\nhello",
    "CR alone in a value": _response(b"X: y\rContent-Length: 5", body=b"hello"),
    "NUL in a value": _response(b"X: \0", _CL5, body=b"hello"),
    "folded line": _response(b"X: y", b" z", _CL5, body=b"hello"),
    "space before the colon": _response(b"Content-Length : 5", body=b"hello"),
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
    "no response but text": b"hello\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "endless interim responses": b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 20_000,
    "upgrade that nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    + _POISON,
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": _response(b"Content-Length: 50", body=b"hello"),
    "half a chunk": _response(_TE, body=b"50\r\nhello"),
    "two responses": _response(_CL5, body=b"hello") + _POISON,
    "body after 204": b"HTTP/1.1 204 No Content\r\n\r\n" + _POISON,
    "body after 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" + _POISON,
}
