"""Tests for scfd.adapter.calls: real connections' protocols, the plugin's end in the test's hand."""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.adapter.calls import LONG, MOST_REDIRECTS, PluginClient, PluginResponse, RequestError
from scfd.http1.pool import Pool
from tests.http1_fakes import AT_ONCE, FakeConnector, FakeTransport

URL = "http://127.0.0.1:9001"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class ClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.plugin, self.health = FakeConnector(), FakeConnector()
        self.client = self.make_client()

    def make_client(self, url: str = URL, max_response: int = 1000) -> PluginClient:
        pool = Pool(self.plugin, 2, 1.5, 5.0, self.clock, AT_ONCE)
        health_pool = Pool(self.health, 1, 1.5, 5.0, self.clock, AT_ONCE)
        return PluginClient(url, pool, health_pool, max_response, self.clock)

    def post(self, *body: bytes, timeout: float = 30.0, **further: Any) -> Deferred[PluginResponse]:
        return self.client.post_event(body or (b"{}",), timeout, **further)

    def failure(self, responded: Deferred[Any]) -> tuple[str, str]:
        error = self.failureResultOf(responded, RequestError).value
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return error.kind, str(error)


class PostTests(ClientTestCase):
    def test_the_request(self) -> None:
        responded = self.post(b"{", b"}", traceparent="00-a-b-01")
        transport = self.plugin.accept()
        self.assertEqual(
            transport.sent,
            b"POST /on-trigger HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nAccept: application/json\r\n"
            b"Content-Type: application/json\r\ntraceparent: 00-a-b-01\r\nContent-Length: 2\r\n\r\n{}",
        )
        transport.receive(OK)
        self.assertEqual(self.successResultOf(responded), PluginResponse(200, b"{}"))

    def test_a_long_body_is_not_joined(self) -> None:
        written: list[bytes] = []
        self.patch(FakeTransport, "write", lambda self, data: written.append(data))
        part = b"x" * LONG
        self.post(b"{", b'"a":', part, b", ", b"}")
        self.plugin.accept()
        head, begin = written[0].split(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % (LONG + 8), head)
        self.assertEqual((begin, written[1:]), (b'{"a":', [part, b", }"]))
        self.assertIs(written[1], part)

    def test_without_a_trace(self) -> None:
        self.post()
        self.assertNotIn(b"traceparent", self.plugin.accept().sent)

    def test_a_base_url_may_have_a_path(self) -> None:
        self.client = self.make_client("http://[::1]:9001/base")
        self.post()
        sent = self.plugin.accept().sent
        self.assertTrue(sent.startswith(b"POST /base/on-trigger HTTP/1.1\r\nHost: [::1]:9001\r\n"), sent)

    def test_connections_are_kept(self) -> None:
        for _ in range(3):
            responded = self.post()
            if self.plugin.attempts:
                transport = self.plugin.accept()
            transport.receive(OK)
            self.successResultOf(responded)
        self.assertEqual(transport.sent.count(b"POST"), 3)
        self.clock.advance(1.5)
        self.assertEqual((transport.ended, self.clock.getDelayedCalls()), ("closed", []))

    def test_other_statuses_are_responses(self) -> None:
        responded = self.post()
        self.plugin.accept().receive(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nwhy"
        )
        self.assertEqual(self.successResultOf(responded), PluginResponse(500, b"why"))

    def test_a_body_in_pieces(self) -> None:
        responded = self.post()
        transport = self.plugin.accept()
        for piece in (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{",
            b"\r\n1\r\n}\r\n0\r\n\r\n",
        ):
            self.assertNoResult(responded)
            transport.receive(piece)
        self.assertEqual(self.successResultOf(responded), PluginResponse(200, b"{}"))


class RedirectTests(ClientTestCase):
    def redirected(self, status: int, location: str) -> tuple[Deferred[PluginResponse], FakeTransport]:
        responded = self.post(b'{"a":', b"1}", traceparent="00-a-b-01")
        transport = self.plugin.accept()
        transport.sent = b""
        transport.receive(
            b"HTTP/1.1 %d X\r\nLocation: %b\r\nContent-Length: 5\r\n\r\nmoved" % (status, location.encode())
        )
        return responded, transport

    def test_one_to_the_same_origin_is_followed(self) -> None:
        for status, location, target in (
            (307, "/on-trigger/", "/on-trigger/"),
            (308, "http://127.0.0.1:9001/x?a=1", "/x?a=1"),
            (307, "//127.0.0.1:9001/y", "/y"),
            (307, "next", "/next"),
        ):
            with self.subTest(location=location):
                self.setUp()
                responded, transport = self.redirected(status, location)
                self.assertTrue(transport.sent.startswith(f"POST {target} HTTP/1.1\r\n".encode()))
                self.assertIn(b"traceparent: 00-a-b-01\r\nContent-Length: 7\r\n", transport.sent)
                self.assertTrue(transport.sent.endswith(b'\r\n\r\n{"a":1}'))
                transport.receive(OK)
                self.assertEqual(self.successResultOf(responded), PluginResponse(200, b"{}"))
                self.clock.advance(1.5)
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_others_are_not(self) -> None:
        for status, location in (
            (301, "/x"),
            (302, "/x"),
            (303, "/x"),
            (307, "http://127.0.0.1:9002/x"),
            (307, "https://127.0.0.1:9001/x"),
            (307, "http://elsewhere:9001/x"),
            (308, "http://[/x"),
            (307, "/a b"),
            (307, ""),
        ):
            with self.subTest(status=status, location=location):
                self.setUp()
                responded, transport = self.redirected(status, location)
                self.assertEqual(transport.sent, b"")
                self.assertEqual(self.successResultOf(responded), PluginResponse(status, b"moved", location))

    def test_of_health(self) -> None:
        for status in (301, 302, 303, 307, 308):
            with self.subTest(status=status):
                self.setUp()
                asked = self.client.get_health(1.0)
                moved = b"HTTP/1.1 %d X\r\nLocation: /health/\r\nContent-Length: 0\r\n\r\n" % status
                first = self.health.accept()
                first.receive(moved)
                self.assertEqual(first.ended, "closed")
                first.lose()
                transport = self.health.accept()
                self.assertTrue(transport.sent.startswith(b"GET /health/ HTTP/1.1\r\n"), transport.sent)
                transport.receive(OK)
                self.assertEqual(self.successResultOf(asked).status, 200)

    def test_of_health_elsewhere(self) -> None:
        asked = self.client.get_health(1.0)
        self.health.accept().receive(
            b"HTTP/1.1 302 X\r\nLocation: http://elsewhere/health?token=secret\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(
            str(self.successResultOf(asked)),
            "HTTP status 302: Location 'http://elsewhere/health', which is not followed",
        )

    def test_not_for_ever(self) -> None:
        responded, transport = self.redirected(307, "/1")
        for _ in range(MOST_REDIRECTS):
            self.assertNoResult(responded)
            transport.receive(b"HTTP/1.1 307 X\r\nLocation: /1\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(responded).status, 307)

    def test_the_time_limit_is_that_of_all_together(self) -> None:
        responded, transport = self.redirected(307, "/1")
        self.clock.advance(30)
        self.assertEqual(self.failure(responded)[0], "timeout")
        self.assertEqual(transport.ended, "aborted")


class FailureTests(ClientTestCase):
    def test_no_connection(self) -> None:
        responded = self.post()
        self.plugin.refuse(ConnectionRefusedError(111, "Connection refused"))
        self.assertEqual(self.failure(responded), ("connect", "can't connect: Connection refused"))

    def test_a_certificate_that_is_no_good(self) -> None:
        responded = self.post()
        self.plugin.refuse(ssl.SSLCertVerificationError(1, "certificate verify failed"))
        self.assertEqual(self.failure(responded)[0], "connect")

    def test_none_in_time(self) -> None:
        responded = self.post()
        self.clock.advance(5)
        self.assertEqual(self.failure(responded), ("connect timeout", "no connection after 5 s"))

    def test_a_connection_that_breaks(self) -> None:
        for received, text in (
            (b"", "the connection was closed without a response"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
                "the connection was closed in the middle of a response",
            ),
        ):
            with self.subTest(received=received):
                responded = self.post()
                transport = self.plugin.accept()
                if received:
                    transport.receive(received)
                transport.lose()
                self.assertEqual(self.failure(responded), ("broken", text))

    def test_nothing_is_sent_twice(self) -> None:
        """A kept connection that the plugin closes as it is used: nobody knows what became of the event."""
        first = self.post()
        transport = self.plugin.accept()
        transport.receive(OK)
        self.successResultOf(first)
        second = self.post()
        transport.lose()
        self.assertEqual(self.failureResultOf(second, RequestError).value.kind, "broken")
        self.assertEqual(self.plugin.attempts, [])

    def test_something_else_than_http(self) -> None:
        responded = self.post()
        transport = self.plugin.accept()
        transport.receive(b"SSH-2.0-OpenSSH\r\n")
        kind, text = self.failure(responded)
        self.assertEqual((kind, transport.ended), ("bad response", "aborted"))
        self.assertTrue(text.startswith("the response is not HTTP/1.1: "), text)

    def test_a_response_that_is_too_long(self) -> None:
        responded = self.post()
        transport = self.plugin.accept()
        transport.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000)
        self.assertNoResult(responded)
        transport.receive(b"x")
        self.assertEqual(self.failure(responded), ("too long", "the response is longer than 1000 bytes"))
        self.assertEqual(transport.ended, "aborted")

    def test_a_timeout(self) -> None:
        for received, text in (
            (b"", "no response after 2.5 s"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", "no whole response after 2.5 s"),
        ):
            with self.subTest(received=received):
                responded = self.post(timeout=2.5)
                transport = self.plugin.accept()
                if received:
                    transport.receive(received)
                self.clock.advance(2.4)
                self.assertNoResult(responded)
                self.clock.advance(0.2)
                self.assertEqual(self.failure(responded), ("timeout", text))
                self.assertEqual(transport.ended, "aborted")

    def test_a_timeout_while_it_waits_for_a_connection(self) -> None:
        under_way = [self.post(timeout=100.0), self.post(timeout=100.0)]
        transports = [self.plugin.accept(), self.plugin.accept()]
        waiting = self.post(timeout=2.0)
        self.clock.advance(2)
        error = self.failureResultOf(waiting, RequestError).value
        self.assertEqual((error.kind, str(error)), ("no connection", "no connection after 2 s"))
        for transport, responded in zip(transports, under_way, strict=True):
            transport.receive(OK)
            self.successResultOf(responded)
            self.assertEqual(transport.sent.count(b"POST"), 1)

    def test_cancelling(self) -> None:
        for connected in (True, False):
            with self.subTest(connected=connected):
                self.setUp()
                responded = self.post()
                transport = self.plugin.accept() if connected else None
                responded.cancel()
                self.failureResultOf(responded, CancelledError)
                if transport is not None:
                    self.assertEqual(transport.ended, "aborted")

    def test_after_the_end(self) -> None:
        self.client.close()
        self.assertEqual(self.failure(self.post()), ("connect", "stopping: no more requests are sent"))


class HealthTests(ClientTestCase):
    def test_the_request(self) -> None:
        responded = self.client.get_health(1.0)
        transport = self.health.accept()
        self.assertEqual(
            transport.sent,
            b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        )
        transport.receive(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        self.assertEqual(self.successResultOf(responded).status, 200)
        self.assertEqual(transport.ended, "aborted")

    def test_is_somebody_listening(self) -> None:
        for what, listening in (("refused", False), ("no connection", False), ("silent", True), ("ok", True)):
            with self.subTest(what=what):
                self.setUp()
                asked = self.client.is_listening()
                if what == "refused":
                    self.health.refuse(ConnectionRefusedError(111, "Connection refused"))
                elif what != "no connection":
                    transport = self.health.accept()
                    if what == "ok":
                        transport.receive(OK)
                self.clock.advance(1)
                self.assertEqual(self.successResultOf(asked), listening)
