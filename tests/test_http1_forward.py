"""Tests for scfd.http1.forward: a caller on one side, the plugin on the other, every byte in between."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs, formatEvent

from scfd.config import GatewaySettings
from scfd.http1 import forward
from tests.gateway_fakes import CallerEnd, GatewayTestCase, lines_of
from tests.http1_fakes import FakeTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ForwardTestCase(GatewayTestCase):
    def forwarded(
        self, method: str, target: str, *headers: str, body: bytes = b""
    ) -> tuple[str, list[str], bytes]:
        """:returns: request line, header lines and body of what the plugin gets."""
        self.caller().ask(method, target, *headers, body=body)
        return lines_of(self.connector.accept().sent)

    def exchange(self, response: bytes, *headers: str, method: str = "GET") -> CallerEnd:
        """:returns: a caller that has asked something, and has got a response that."""
        caller = self.caller()
        caller.ask(method, "/", *headers)
        self.plugin = self.connector.accept()
        self.plugin.receive(response)
        return caller

    def under_way(
        self, *headers: str, method: str = "GET", body: bytes = b""
    ) -> tuple[CallerEnd, FakeTransport]:
        """:returns: a caller that has asked something, and the plugin that has got it."""
        caller = self.caller()
        caller.ask(method, "/", *headers, body=body)
        plugin = self.connector.accept()
        plugin.sent = b""
        return caller, plugin


class RequestTests(ForwardTestCase):
    settings = evolve(GatewaySettings(), preserve_host=True, request_buffer=0)

    def test_method_and_target_are_kept_as_they_came(self) -> None:
        for method, target in (
            ("GET", "/"),
            ("DELETE", "/a%2Fb/%zz?x=%41&x=2&x"),
            ("OPTIONS", "/a/../b/./c?"),
            ("PATCH", "//a//b"),
            ("X-OWN", "/a;p=1/b;q?r;s"),
            ("OPTIONS", "*"),
        ):
            line, _, _ = self.forwarded(method, target)
            self.assertEqual(line, f"{method} {target} HTTP/1.1")

    def test_every_header_in_order(self) -> None:
        _, headers, _ = self.forwarded(
            "GET",
            "/",
            "x-b: 1",
            "Connection: close, X-Foo",
            "X-Foo: dropped",
            "TE: trailers",
            "Keep-Alive: 5",
            "Proxy-Connection: x",
            "A: \xe9",
            "X-Request-Id: r-1",
            "X-B: 2",
            "traceparent: 00-1-2-01",
            "X-Forwarded-For: 1.1.1.1",
            "X-Forwarded-Host: evil",
            "x-forwarded-for: 2.2.2.2",
            "X-Forwarded-Proto: evil",
            "Gateway-Tag: evil",
        )
        self.assertEqual(
            headers,
            [
                "Host: node.example:9000",
                "x-b: 1",
                "A: \xe9",
                "X-Request-Id: r-1",
                "X-B: 2",
                "traceparent: 00-1-2-01",
                "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 10.1.2.3",
                "X-Forwarded-Proto: http",
                "gateway-tag: forward",
                "X-Forwarded-Host: node.example:9000",
            ],
        )

    def test_an_id_is_made(self) -> None:
        caller = self.exchange(OK)
        ids = [line for line in lines_of(self.plugin.sent)[1] if line.startswith("X-Request-Id: ")]
        self.assertRegex(ids[0], "^X-Request-Id: [0-9a-f]{32}$")
        self.assertIn(ids[0], lines_of(caller.take())[1])

    def test_an_http_1_0_caller_without_host(self) -> None:
        caller = self.caller()
        caller.receive(b"GET /x HTTP/1.0\r\n\r\n")
        line, headers, _ = lines_of(self.connector.accept().sent)
        self.assertEqual((line, headers[0]), ("GET /x HTTP/1.1", "Host: plugin:9001"))
        self.assertFalse([line for line in headers if "Forwarded-Host" in line])

    def test_a_body_with_a_length(self) -> None:
        _, headers, body = self.forwarded("POST", "/", body=b"hello")
        self.assertIn("Content-Length: 5", headers)
        self.assertEqual(body, b"hello")

    def test_a_chunked_body(self) -> None:
        caller = self.caller()
        caller.receive(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n"
        )
        plugin = self.connector.accept()
        _, headers, body = lines_of(plugin.sent)
        self.assertIn("Transfer-Encoding: chunked", headers)
        self.assertEqual(body, b"5\r\nabcde\r\n")
        plugin.sent = b""
        caller.receive(b"1\r\nf\r\n0\r\nTrailer: x\r\n\r\n")
        self.assertEqual(plugin.sent, b"1\r\nf\r\n0\r\n\r\n")
        plugin.receive(OK)
        self.assertEqual(caller.response().body, b"ok")
        self.assertEqual(self.pool.idle, 1)

    def test_a_body_streams(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n")
        plugin = self.connector.accept()
        self.assertTrue(plugin.sent.endswith(b"\r\n\r\n"))
        plugin.sent = b""
        for part in (b"ab", b"cd", b"ef"):
            caller.receive(part)
            self.assertEqual(plugin.sent, part)
            plugin.sent = b""

    def test_a_body_waits_for_the_plugin(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab")
        self.assertFalse(caller.reading)
        plugin = self.connector.accept()
        self.assertTrue(caller.reading)
        plugin.protocol.pause_writing()
        self.assertFalse(caller.reading)
        plugin.protocol.resume_writing()
        self.assertTrue(caller.reading)

    def test_a_plugin_that_is_slow_with_the_end_of_a_body(self) -> None:
        """That its caller leaves is noticed all the same."""
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\na")
        plugin = self.connector.accept()
        write = plugin.write

        def fill(data: bytes) -> None:
            write(data)
            plugin.protocol.pause_writing()

        plugin.write = fill  # type: ignore[method-assign]
        caller.receive(b"b")
        self.assertFalse(caller.reading)
        plugin.protocol.resume_writing()
        caller.receive(b"cd")
        self.assertTrue(caller.reading)

    def test_head_and_body_go_in_one_write(self) -> None:
        self.exchange(OK)
        writes: list[bytes] = []
        self.plugin.write = writes.append  # type: ignore[assignment, method-assign]
        self.caller().ask("POST", "/", body=b"hello")
        self.assertEqual([write.endswith(b"\r\n\r\nhello") for write in writes], [True])


class HostTests(ForwardTestCase):
    def test_the_plugin_gets_its_own(self) -> None:
        _, headers, _ = self.forwarded("GET", "/", "host_: x", "A: 1")
        self.assertEqual(headers[:3], ["Host: plugin:9001", "host_: x", "A: 1"])
        self.assertIn("X-Forwarded-Host: node.example:9000", headers)

    def test_names_that_fold_into_ours_are_dropped(self) -> None:
        """A program that reads headers as CGI variables would take them for ours."""
        _, headers, _ = self.forwarded(
            "GET",
            "/",
            "X_Forwarded_For: 1.1.1.1",
            "x-forwarded_proto: https",
            "X_Forwarded-Host: evil",
            "Gateway_Tag: evil",
            "gateway_tag: evil",
            "X_Request_Id: evil",
            "Content_Length: 5",
            "Transfer_Encoding: chunked",
            "X_Other: kept",
        )
        names = [line.partition(":")[0] for line in headers]
        self.assertEqual(
            names,
            [
                "Host",
                "X_Other",
                "X-Request-Id",
                "X-Forwarded-For",
                "X-Forwarded-Proto",
                "gateway-tag",
                "X-Forwarded-Host",
            ],
        )


class KeptTests(ForwardTestCase):
    """Chunked requests that are kept until they are whole."""

    settings = evolve(GatewaySettings(), request_buffer=10)
    CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\n%bTransfer-Encoding: chunked\r\n\r\n"

    def begun(self, *chunks: bytes, headers: bytes = b"") -> CallerEnd:
        caller = self.caller()
        caller.receive(self.CHUNKED % headers)
        for chunk in chunks:
            caller.receive(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return caller

    def test_a_short_one_goes_on_with_its_length(self) -> None:
        for chunks in ((), (b"abc", b"defg"), (b"0123456789",)):
            with self.subTest(chunks=chunks):
                self.setUp()
                caller = self.begun(*chunks)
                self.assertEqual(self.connector.attempts, [])
                caller.receive(b"0\r\n\r\n")
                plugin = self.connector.accept()
                _, headers, body = lines_of(plugin.sent)
                self.assertEqual(body, b"".join(chunks))
                self.assertIn(f"Content-Length: {len(body)}", headers)
                self.assertFalse([line for line in headers if line.startswith("Transfer-Encoding")])
                plugin.receive(OK)
                self.assertEqual((caller.response().status, self.pool.idle), (200, 1))

    def test_a_long_one_streams(self) -> None:
        caller = self.begun(b"abcdef")
        caller.receive(b"5\r\nghijk\r\n")
        plugin = self.connector.accept()
        _, headers, body = lines_of(plugin.sent)
        self.assertIn("Transfer-Encoding: chunked", headers)
        self.assertEqual(body, b"b\r\nabcdefghijk\r\n")
        plugin.sent = b""
        caller.receive(b"1\r\nl\r\n0\r\n\r\n")
        self.assertEqual(plugin.sent, b"1\r\nl\r\n0\r\n\r\n")

    def test_a_long_one_that_comes_at_once_streams_too(self) -> None:
        caller = self.caller()
        caller.receive(self.CHUNKED % b"" + b"b\r\nabcdefghijk\r\n0\r\n\r\n")
        plugin = self.connector.accept()
        _, headers, body = lines_of(plugin.sent)
        self.assertIn("Transfer-Encoding: chunked", headers)
        self.assertEqual(body, b"b\r\nabcdefghijk\r\n0\r\n\r\n")
        plugin.receive(OK)
        self.assertEqual((caller.response().status, self.pool.idle), (200, 1))

    def test_a_caller_that_waits_to_be_told_to_go_on(self) -> None:
        caller = self.begun(headers=b"Expect: 100-continue\r\n")
        self.assertEqual(caller.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.receive(b"2\r\nhi\r\n0\r\n\r\n")
        sent = self.connector.accept().sent
        self.assertTrue(sent.endswith(b"\r\n\r\nhi"))
        self.assertNotIn(b"Expect", sent)

    def test_what_is_kept_has_a_limit(self) -> None:
        self.patch(forward, "MOST_KEPT", 4)
        callers = [self.begun(b"abcd"), self.begun()]
        self.assertEqual(len(self.connector.attempts), 1)  # the second one does not wait
        callers[0].lose()
        self.begun(b"abc")
        self.assertEqual(len(self.connector.attempts), 1)

    def test_a_caller_that_leaves_keeps_nothing(self) -> None:
        caller = self.begun(b"abc")
        forwarder = self.front._backend
        assert isinstance(forwarder, forward.Forwarder)
        self.assertEqual(forwarder.kept, 3)
        caller.lose()
        self.assertEqual((forwarder.kept, self.pool.waiting), (0, 0))

    def test_one_that_stalls(self) -> None:
        caller = self.begun(b"abc")
        self.wait(60.2)
        self.assertEqual((caller.response().status, self.connector.attempts), (408, []))


class BasePathTests(ForwardTestCase):
    base_path = b"/base"

    def test_stands_in_front(self) -> None:
        self.assertEqual(self.forwarded("GET", "/x?y")[0], "GET /base/x?y HTTP/1.1")
        self.assertEqual(self.forwarded("OPTIONS", "*")[0], "OPTIONS * HTTP/1.1")


class ResponseTests(ForwardTestCase):
    def test_every_header_in_order(self) -> None:
        caller = self.exchange(
            b"HTTP/1.1 299 Sehr gut\r\nset-cookie: a=1\r\nConnection: X-Foo\r\nX-Foo: dropped\r\nTE: x\r\n"
            b"Set-Cookie: b=2\r\nContent-Length: 2\r\nX-Request-Id: p\r\n\r\nok"
        )
        self.assertEqual(
            caller.take(),
            b"HTTP/1.1 299 Sehr gut\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n"
            b"X-Request-Id: p\r\n\r\nok",
        )

    def test_chunks_without_trailers(self) -> None:
        caller = self.exchange(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\nT: x\r\n\r\n"
        )
        _, headers, body = lines_of(caller.take())
        self.assertIn("Transfer-Encoding: chunked", headers)
        self.assertEqual(body, b"2\r\nab\r\n0\r\n\r\n")
        self.assertEqual(self.pool.idle, 1)

    def test_until_the_connection_ends(self) -> None:
        caller = self.exchange(b"HTTP/1.1 200 OK\r\n\r\nab")
        self.assertEqual(lines_of(caller.take())[2], b"2\r\nab\r\n")
        self.plugin.lose()
        self.assertEqual(caller.take(), b"0\r\n\r\n")
        self.assertFalse(caller.closed)

    def test_to_an_http_1_0_caller(self) -> None:
        for response in (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nab",
        ):
            caller = self.caller()
            caller.receive(b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
            plugin = self.connector.accept() if self.connector.attempts else self.plugin
            self.plugin = plugin
            plugin.receive(response)
            if not response.endswith(b"0\r\n\r\n"):
                plugin.lose()
            _, headers, body = lines_of(caller.take())
            self.assertNotIn("Transfer-Encoding: chunked", headers)
            self.assertIn("Connection: close", headers)
            self.assertEqual((body, caller.ended), (b"ab", "closed"))

    def test_an_http_1_0_caller_that_stays(self) -> None:
        caller = self.caller()
        caller.receive(b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
        self.connector.accept().receive(OK)
        self.assertIn("Connection: keep-alive", lines_of(caller.take())[1])
        self.assertFalse(caller.closed)

    def test_without_a_body(self) -> None:
        for method, status in (("HEAD", 200), ("GET", 304)):
            with self.subTest(method=method, status=status):
                self.setUp()
                caller = self.exchange(
                    b"HTTP/1.1 %d X\r\nContent-Length: 7\r\nETag: e\r\n\r\n" % status, method=method
                )
                self.assertEqual(lines_of(caller.take())[1][:2], ["Content-Length: 7", "ETag: e"])
                self.assertEqual((caller.closed, self.pool.idle), (False, 1))

    def test_no_content_has_no_length(self) -> None:
        caller = self.exchange(b"HTTP/1.1 204 X\r\nContent-Length: 0\r\nETag: e\r\n\r\n")
        self.assertNotIn(b"Content-Length", caller.take())
        self.assertEqual((caller.closed, self.pool.idle), (False, 1))

    def test_upgrade_required_says_to_what(self) -> None:
        caller = self.exchange(
            b"HTTP/1.1 426 X\r\nUpgrade: TLS/1.3, websocket\r\nConnection: Upgrade\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        _, headers, _ = lines_of(caller.take())
        self.assertEqual(headers[:2], ["Connection: Upgrade", "Upgrade: TLS/1.3, websocket"])
        self.assertFalse(caller.closed)

    def test_it_streams(self) -> None:
        caller = self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        self.assertTrue(caller.take().endswith(b"\r\n\r\n"))
        self.plugin.receive(b"ab")
        self.assertEqual(caller.take(), b"ab")
        self.plugin.receive(b"cd")
        self.assertEqual(caller.take(), b"cd")
        self.assertEqual(self.pool.idle, 1)

    def test_a_slow_reader_slows_the_plugin(self) -> None:
        caller = self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        caller.protocol.pause_writing()
        self.assertFalse(self.plugin.reading)
        caller.protocol.resume_writing()
        self.assertTrue(self.plugin.reading)

    def test_close_is_between_the_caller_and_the_gateway(self) -> None:
        caller = self.exchange(OK, "Connection: close")
        self.assertIn("Connection: close", lines_of(caller.take())[1])
        self.assertEqual((caller.ended, self.pool.idle), ("closed", 1))

    def test_one_that_comes_before_the_request_is_complete(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab")
        plugin = self.connector.accept()
        plugin.receive(OK)
        self.assertIn("Connection: close", lines_of(caller.take())[1])
        self.assertEqual((plugin.ended, caller.eof, caller.ended), ("aborted", True, ""))
        caller.receive(b"cdefghi")  # read and dropped, so that the response arrives
        self.assertEqual(caller.take(), b"")

    def test_a_body_goes_on_while_the_response_comes(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
        plugin = self.connector.accept()
        plugin.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nAB")
        plugin.sent = b""
        caller.receive(b"cd")
        self.assertEqual(plugin.sent, b"cd")
        plugin.receive(b"CD")
        self.assertTrue(caller.take().endswith(b"ABCD"))


class InformationTests(ForwardTestCase):
    EXPECT = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

    def test_the_plugin_says_whether_it_wants_the_body(self) -> None:
        caller = self.caller()
        caller.receive(self.EXPECT)
        plugin = self.connector.accept()
        self.assertIn("Expect: 100-continue", lines_of(plugin.sent)[1])
        plugin.sent = b""
        plugin.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(caller.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.receive(b"hi")
        self.assertEqual(plugin.sent, b"hi")
        plugin.receive(OK)
        self.assertEqual((caller.response().status, caller.closed), (200, False))

    def test_it_does_not(self) -> None:
        caller = self.caller()
        caller.receive(self.EXPECT)
        self.connector.accept().receive(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((caller.response().status, caller.closed), (417, True))

    def test_it_does_not_change_the_time_for_the_response(self) -> None:
        for early in (
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
            b"HTTP/1.1 102 X\r\n\r\n",
            b"HTTP/1.1 100 X\r\n\r\n",
        ):
            with self.subTest(early=early):
                self.setUp()
                caller = self.caller()
                caller.ask("POST", "/", body=b"x")
                plugin = self.connector.accept()
                for _ in range(3):
                    self.wait(9.9)
                    plugin.receive(early)
                caller.take()
                self.wait(0.5)
                self.assertEqual((caller.response().status, plugin.ended), (504, "aborted"))

    def test_not_for_http_1_0(self) -> None:
        caller = self.caller()
        caller.receive(b"GET / HTTP/1.0\r\n\r\n")
        self.connector.accept().receive(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
        self.assertEqual(caller.response().status, 200)


class TunnelTests(ForwardTestCase):
    def tunnel(self) -> tuple[CallerEnd, FakeTransport]:
        caller, plugin = self.under_way("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-X: 1")
        plugin.receive(
            b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-Y: 2\r\n\r\nfirst"
        )
        return caller, plugin

    def test_goes_both_ways(self) -> None:
        caller, plugin = self.tunnel()
        self.assertEqual(
            caller.take(),
            b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Y: 2\r\n\r\nfirst",
        )
        caller.receive(b"GET / HTTP/1.1\r\n\r\n\0")
        self.assertEqual(plugin.sent, b"GET / HTTP/1.1\r\n\r\n\0")
        plugin.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual(caller.take(), b"HTTP/1.1 200 OK\r\n\r\n")

    def test_is_asked_for_by_both_headers(self) -> None:
        _, headers, _ = self.forwarded(
            "GET", "/", "Connection: Upgrade, X-Foo", "Upgrade: websocket", "X-Foo: 1"
        )
        self.assertIn("Connection: Upgrade", headers)
        self.assertIn("Upgrade: websocket", headers)
        self.assertNotIn("X-Foo: 1", headers)
        _, headers, _ = self.forwarded("GET", "/", "Connection: Upgrade", "Upgrade: h2c")
        self.assertFalse([line for line in headers if "pgrade" in line], headers)

    def test_what_came_too_early(self) -> None:
        caller = self.caller()
        caller.receive(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly")
        plugin = self.connector.accept()
        plugin.sent = b""
        plugin.receive(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        self.assertEqual(plugin.sent, b"early")
        self.assertTrue(caller.reading)

    def test_the_plugin_does_not_want_to(self) -> None:
        caller, plugin = self.under_way("Connection: Upgrade", "Upgrade: x")
        plugin.receive(OK)
        self.assertEqual(caller.response().status, 200)
        caller.ask("GET", "/")
        self.assertTrue(plugin.sent.startswith(b"GET / "))

    def test_nobody_has_asked(self) -> None:
        caller, plugin = self.under_way()
        with capturedLogs():
            plugin.receive(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
        self.assertEqual(caller.response().status, 502)

    def test_ends(self) -> None:
        caller, plugin = self.tunnel()
        plugin.lose()
        self.assertEqual(caller.ended, "closed")
        caller, plugin = self.tunnel()
        caller.lose()
        self.assertEqual(plugin.ended, "closed")  # what has been written is sent

    def test_back_pressure(self) -> None:
        caller, plugin = self.tunnel()
        plugin.protocol.pause_writing()
        self.assertFalse(caller.reading)
        plugin.protocol.resume_writing()
        self.assertTrue(caller.reading)
        caller.protocol.pause_writing()
        self.assertFalse(plugin.reading)

    def test_time_without_a_byte(self) -> None:
        caller, plugin = self.tunnel()
        self.wait(40)
        caller.receive(b"x")
        self.wait(40)
        plugin.receive(b"x")
        self.wait(40)
        self.assertEqual((caller.ended, plugin.ended), ("", ""))
        self.wait(30)
        self.assertEqual((caller.ended, plugin.ended), ("aborted", "closed"))

    def test_draining_does_not_wait_for_it(self) -> None:
        self.tunnel()
        self.assertEqual(self.front.busy(), 0)


class FailureTests(ForwardTestCase):
    def logged(self, logs: Any) -> list[str | None]:
        return [formatEvent(event) for event in logs]

    def test_no_connection(self) -> None:
        caller = self.caller()
        with capturedLogs() as logs:
            caller.ask("GET", "/")
            self.connector.refuse(ConnectionRefusedError(111, "refused"))
        response = caller.response()
        self.assertEqual(
            (response.status, response.json()), (502, {"message": "the upstream server can't be reached"})
        )
        self.assertEqual((caller.closed, self.logged(logs)), (False, []))

    def test_none_in_time(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/")
        self.clock.advance(5)
        self.assertEqual(caller.response().status, 504)

    def test_broken_off_before_the_response(self) -> None:
        caller, plugin = self.under_way(method="POST")
        with capturedLogs() as logs:
            plugin.lose(ConnectionResetError("reset"))
        self.assertEqual(caller.response().status, 502)
        self.assertEqual(
            self.logged(logs),
            ["a forwarded request failed: the connection was closed without a response: reset"],
        )

    def test_no_http(self) -> None:
        caller, plugin = self.under_way()
        with capturedLogs():
            plugin.receive(b"SSH-2.0-OpenSSH\r\n")
        self.assertEqual((caller.response().status, plugin.ended), (502, "aborted"))

    def test_broken_off_in_the_middle(self) -> None:
        caller = self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        with capturedLogs():
            self.plugin.lose()
        self.assertEqual(caller.ended, "aborted")

    def test_the_caller_leaves(self) -> None:
        caller, plugin = self.under_way()
        caller.lose()
        self.assertEqual((plugin.ended, self.pool.waiting), ("aborted", 0))
        self.assertEqual(self.count("gateway_requests_total", code="499"), 1)

    def test_the_caller_leaves_before_there_is_a_connection(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/")
        caller.lose()
        self.assertEqual(self.pool.waiting, 0)
        self.assertEqual(self.connector.accept().sent, b"")

    def test_no_response_in_time(self) -> None:
        caller, plugin = self.under_way()
        self.wait(29.8)
        self.assertEqual((caller.take(), plugin.ended), (b"", ""))
        self.wait(0.4)
        response = caller.response()
        self.assertEqual(
            (response.status, response.json()),
            (504, {"message": "the upstream server did not respond in time"}),
        )
        self.assertEqual((plugin.ended, caller.closed), ("aborted", False))

    def test_time_counts_from_the_end_of_the_request(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\na")
        plugin = self.connector.accept()
        for part in (b"b", b"c", b"d"):
            self.wait(25)
            caller.receive(part)
        self.wait(29)
        self.assertEqual(caller.take(), b"")
        plugin.receive(OK)
        self.assertEqual(caller.response().status, 200)

    def test_a_response_that_stalls(self) -> None:
        caller = self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.wait(59)
        self.plugin.receive(b"c")
        self.wait(59)
        self.assertEqual(caller.ended, "")
        self.wait(2)
        self.assertEqual((caller.ended, self.plugin.ended), ("aborted", "aborted"))


class RetryTests(ForwardTestCase):
    def reused(self, method: str, body: bytes = b"") -> tuple[CallerEnd, FakeTransport]:
        """:returns: a caller whose request went over a connection that had served another one."""
        self.exchange(OK)
        self.plugin.sent = b""
        caller = self.caller()
        caller.ask(method, "/again", body=body)
        self.assertTrue(self.plugin.sent)
        return caller, self.plugin

    def test_an_idle_connection_that_was_closed(self) -> None:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            with self.subTest(method=method):
                self.setUp()
                caller, plugin = self.reused(method)
                plugin.lose()
                second = self.connector.accept()
                self.assertTrue(second.sent.startswith(f"{method} /again HTTP/1.1".encode()))
                second.receive(OK if method != "HEAD" else OK[:-2])
                self.assertEqual(caller.response(method).status, 200)
                self.assertEqual(self.count("gateway_retries_total"), 1)

    def test_only_once(self) -> None:
        caller, plugin = self.reused("GET")
        other = self.caller()
        other.ask("GET", "/")
        second = self.connector.accept()
        second.receive(OK)
        plugin.lose()  # the first request goes to the second connection
        with capturedLogs():
            second.lose()
        self.assertEqual(caller.response().status, 502)

    def test_not_what_may_have_had_an_effect(self) -> None:
        for method, body in (("POST", b""), ("PATCH", b""), ("PUT", b"x")):
            with self.subTest(method=method, body=body):
                self.setUp()
                caller, plugin = self.reused(method, body)
                with capturedLogs():
                    plugin.lose()
                self.assertEqual(caller.response().status, 502)

    def test_not_after_a_byte_of_the_response(self) -> None:
        caller, plugin = self.reused("GET")
        plugin.receive(b"HTTP/1.1 2")
        with capturedLogs():
            plugin.lose()
        self.assertEqual(caller.response().status, 502)

    def test_not_on_a_connection_that_is_new(self) -> None:
        caller, plugin = self.under_way()
        with capturedLogs():
            plugin.lose()
        self.assertEqual(caller.response().status, 502)


class PoolTests(ForwardTestCase):
    pool_size = 1
    settings = evolve(GatewaySettings(), forward_timeout=10.0)

    def test_requests_wait_for_their_turn(self) -> None:
        first, plugin = self.under_way()
        second = self.caller()
        second.ask("POST", "/second", body=b"body")
        plugin.receive(OK)
        self.assertTrue(plugin.sent.startswith(b"POST /second "))
        self.assertTrue(plugin.sent.endswith(b"\r\n\r\nbody"))
        plugin.receive(OK)
        self.assertEqual((first.response().status, second.response().status), (200, 200))

    def test_for_so_long(self) -> None:
        _, plugin = self.under_way()
        plugin.receive(b"HTTP/1.1 200 OK\r\n\r\n")
        second = self.caller()
        second.ask("GET", "/")
        self.wait(10.2)
        self.assertEqual((second.response().status, self.pool.waiting), (504, 0))
