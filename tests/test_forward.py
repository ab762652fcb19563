"""Tests for scfd.gateway.forward: a real server's channel on one side, a real client's on the other."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http_headers import Headers

from scfd.gateway.forward import Forwarder, end_to_end
from scfd.inflight import InFlight
from tests.http_fakes import Caller, Peer, Wire

TIMEOUT = 30.0  # seconds


class EndToEndTests(SynchronousTestCase):
    def kept(self, *pairs: tuple[str, str]) -> list[tuple[bytes, Sequence[bytes]]]:
        headers = Headers()
        for name, value in pairs:
            headers.addRawHeader(name, value)
        return sorted(end_to_end(headers).getAllRawHeaders())

    def test_drops_what_is_for_one_connection(self) -> None:
        for name in (
            "Connection",
            "Proxy-Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Proxy-Authenticate",
            "Proxy-Authorization",
        ):
            with self.subTest(name=name):
                self.assertEqual(self.kept((name, "x"), ("X-Kept", "1")), [(b"X-Kept", [b"1"])])

    def test_drops_what_connection_names(self) -> None:
        self.assertEqual(
            self.kept(
                ("Connection", "close, X-Foo"),
                ("Connection", "x-bar,"),
                ("X-Foo", "1"),
                ("X-Bar", "2"),
                ("X-Foobar", "3"),
            ),
            [(b"X-Foobar", [b"3"])],
        )

    def test_keeps_repeated_ones_in_order(self) -> None:
        self.assertEqual(
            self.kept(("Accept", "b"), ("Cookie", "x"), ("Accept", "a"), ("Accept", "b")),
            [(b"Accept", [b"b", b"a", b"b"]), (b"Cookie", [b"x"])],
        )


class ForwarderTestCase(SynchronousTestCase):
    """
    :ivar caller: asks the gateway.
    :ivar plugin: the other end of the gateway's connections.
    """

    def setUp(self) -> None:
        self.plugin = Peer()
        self.in_flight = InFlight()
        forwarder = Forwarder(
            self.plugin.agent, "http://127.0.0.1:9001", TIMEOUT, self.in_flight, self.plugin.reactor
        )
        self.caller = Caller(forwarder)

    def tearDown(self) -> None:
        self.assertEqual(len(self.in_flight), 0, "an exchange is still counted")
        self.assertEqual(self.flushLoggedErrors(), [])

    def forwarded(self, wire: Wire) -> tuple[str, list[str], bytes]:
        """:returns: request line, header lines and body of what the plugin got."""
        head, _, body = wire.value().partition(b"\r\n\r\n")
        line, *headers = head.decode().split("\r\n")
        return line, headers, body

    def exchange(self, answer: bytes, method: str = "GET", target: str = "/") -> None:
        """A request, and the plugin's answer to it."""
        self.caller.ask(method, target)
        self.plugin.accept()
        self.plugin.send(answer)


class RequestTests(ForwarderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.caller.leave)

    def tearDown(self) -> None:
        """The exchanges end with the caller, when the cleanups are run."""

    def test_goes_to_the_plugin(self) -> None:
        self.caller.ask("GET", "/")
        self.assertEqual(self.plugin.reactor.tcpClients[0][:2], ("127.0.0.1", 9001))

    def test_method_and_target_are_kept_as_they_came(self) -> None:
        for method, target in (
            ("GET", "/"),
            ("DELETE", "/a%2Fb/%zz?x=%41&x=2&x"),
            ("OPTIONS", "/a/../b/./c"),
            ("PATCH", "//a//b"),
            ("PURGE", "/a;p=1/b;q?r;s"),
            ("HEAD", "/?a=b?c"),
            ("GET", "/health/"),
        ):
            with self.subTest(method=method, target=target):
                self.setUp()
                self.caller.ask(method, target)
                line, _, _ = self.forwarded(self.plugin.accept())
                self.assertEqual(line, f"{method} {target} HTTP/1.1")

    def test_says_who_asks(self) -> None:
        self.caller.transport.peerAddr = IPv4Address("TCP", "10.1.2.3", 54321)
        self.caller.ask("GET", "/", "Accept: a", "Accept: b", "X-Scf-Request-Id: 7")
        _, headers, _ = self.forwarded(self.plugin.accept())
        for expected in (
            "Host: node.example:9000",
            "X-Scf-Request-Id: 7",
            "X-Forwarded-For: 10.1.2.3",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: node.example:9000",
            "Gateway-Tag: forward",
        ):
            self.assertEqual(headers.count(expected), 1, headers)
        self.assertEqual(
            [header for header in headers if header.startswith("Accept:")], ["Accept: a", "Accept: b"]
        )

    def test_goes_on_with_a_list_of_proxies(self) -> None:
        self.caller.transport.peerAddr = IPv4Address("TCP", "10.1.2.3", 54321)
        self.caller.ask(
            "GET", "/", "X-Forwarded-For: 1.1.1.1, 2.2.2.2", "X-Forwarded-Proto: https", "gateway-tag: mine"
        )
        _, headers, _ = self.forwarded(self.plugin.accept())
        forwarded = [h for h in headers if h.lower().startswith(("x-forwarded-for", "x-forwarded-proto"))]
        self.assertEqual(
            sorted(forwarded),
            ["X-Forwarded-For: 1.1.1.1, 2.2.2.2", "X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: http"],
        )
        self.assertEqual(
            [h for h in headers if h.lower().startswith("gateway-tag")], ["Gateway-Tag: forward"]
        )

    def test_drops_what_was_for_the_gateway(self) -> None:
        self.caller.ask(
            "GET",
            "/",
            "Connection: keep-alive, X-Foo",
            "X-Foo: 1",
            "TE: trailers",
            "Upgrade: h2c",
            "X-Kept: 1",
        )
        _, headers, _ = self.forwarded(self.plugin.accept())
        names = {header.partition(":")[0].lower() for header in headers}
        self.assertEqual(names & {"x-foo", "te", "upgrade", "keep-alive", "x-kept"}, {"x-kept"})


class AnswerTests(ForwarderTestCase):
    def test_is_passed_on(self) -> None:
        self.exchange(
            b"HTTP/1.1 418 Short and stout\r\nContent-Length: 5\r\nContent-Type: text/x\r\n"
            b"Set-Cookie: b=1\r\nX-A: 1\r\nSet-Cookie: a=2\r\nServer: plugin\r\n\r\nhello"
        )
        self.assertTrue(
            self.caller.transport.value().startswith(b"HTTP/1.1 418 Short and stout\r\n"),
            self.caller.transport.value(),
        )
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.body), (418, b"hello"))
        self.assertEqual(answer.header("set-cookie"), ["b=1", "a=2"])
        for name, value in (
            ("content-length", "5"),
            ("content-type", "text/x"),
            ("x-a", "1"),
            ("server", "plugin"),
        ):
            self.assertEqual(answer.header(name), [value])
        self.assertEqual(self.caller.answered, [418])
        self.assertFalse(self.caller.transport.disconnecting)

    def test_no_content_type_is_made_up(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.caller.answer().header("content-type"), [])

    def test_headers_of_the_other_connection_are_dropped(self) -> None:
        self.exchange(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nTrailer: X-T\r\n"
            b"Proxy-Authenticate: x\r\nX-Kept: 1\r\n\r\n"
        )
        answer = self.caller.answer()
        self.assertEqual(
            [answer.header(name) for name in ("keep-alive", "trailer", "proxy-authenticate", "x-kept")],
            [[], [], [], ["1"]],
        )

    def test_a_body_in_chunks_stays_one(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.plugin.send(b"3\r\nabc\r\n")
        self.assertTrue(self.caller.transport.value().endswith(b"\r\n\r\n3\r\nabc\r\n"), "it is not streamed")
        self.plugin.send(b"2\r\nde\r\n0\r\n\r\n")
        answer = self.caller.answer()
        self.assertEqual((answer.body, answer.header("transfer-encoding")), (b"abcde", ["chunked"]))

    def test_a_body_that_ends_with_its_connection(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.plugin.close()
        self.assertEqual(self.caller.answer().body, b"abc")

    def test_head_gets_no_body_and_no_length_that_is_not_so(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n", method="HEAD")
        self.assertTrue(self.caller.transport.value().endswith(b"\r\n\r\n"))
        answer = self.caller.answer("HEAD")
        self.assertEqual((answer.status, answer.header("x-a")), (200, ["1"]))
        self.assertIn(answer.header("content-length"), ([], ["5"]))
        self.assertEqual(answer.header("transfer-encoding"), [])

    def test_answers_without_a_body(self) -> None:
        for status in (204, 304):
            with self.subTest(status=status):
                self.exchange(b"HTTP/1.1 %d X\r\nETag: e\r\n\r\n" % status)
                self.assertTrue(self.caller.transport.value().endswith(b"\r\n\r\n"))
                answer = self.caller.answer()
                self.assertEqual((answer.status, answer.header("etag")), (status, ["e"]))
                self.assertEqual(answer.header("content-length") + answer.header("transfer-encoding"), [])

    def test_the_connection_is_good_for_another_request(self) -> None:
        for answer in (
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ):
            self.exchange(answer)
            self.caller.answer()
        self.assertFalse(self.caller.transport.disconnecting)

    def test_is_passed_on_no_faster_than_it_is_read(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        self.caller.transport.producer.pauseProducing()
        wire = self.plugin.accepted
        self.assertEqual(wire.producerState, "paused")
        self.caller.transport.producer.resumeProducing()
        self.assertEqual(wire.producerState, "producing")
        self.plugin.send(b"x" * 1000)
        self.assertEqual(len(self.caller.answer().body), 1000)


class FailureTests(ForwarderTestCase):
    def assert_answered(self, status: int, message: str) -> None:
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.json()), (status, {"message": message}))

    def test_no_connection(self) -> None:
        for error in (ConnectionRefusedError(), DNSLookupError()):
            with self.subTest(error=error):
                self.caller.ask("GET", "/")
                self.plugin.refuse(error)
                self.assert_answered(502, "the plugin can't be reached")

    def test_no_connection_in_time(self) -> None:
        self.caller.ask("GET", "/")
        self.plugin.refuse(ConnectTimeout())
        self.assert_answered(504, "the plugin did not answer in time")

    def test_a_connection_that_breaks_before_the_answer(self) -> None:
        self.caller.ask("GET", "/")
        self.plugin.accept()
        with capturedLogs() as events:
            self.plugin.close(ConnectionLost())
        self.assert_answered(502, "the plugin can't be reached")
        self.assertEqual(len(events), 1)
        self.assertTrue(formatEvent(events[0]).startswith("a forwarded request failed: "))

    def test_an_answer_that_is_no_http(self) -> None:
        self.exchange(b"SSH-2.0-OpenSSH\r\n\r\n")
        self.assert_answered(502, "the plugin can't be reached")

    def test_an_answer_that_does_not_come(self) -> None:
        self.caller.ask("GET", "/")
        wire = self.plugin.accept()
        self.plugin.reactor.advance(TIMEOUT - 0.1)
        self.assertEqual(self.caller.transport.value(), b"")
        self.plugin.reactor.advance(0.2)
        self.assert_answered(504, "the plugin did not answer in time")
        self.assertTrue(wire.disconnected)

    def test_a_connection_that_does_not_come(self) -> None:
        self.caller.ask("GET", "/")
        self.plugin.reactor.advance(TIMEOUT + 0.1)
        self.assert_answered(504, "the plugin did not answer in time")

    def test_a_body_may_take_its_time(self) -> None:
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        self.plugin.reactor.advance(10 * TIMEOUT)
        self.plugin.send(b"b")
        self.assertEqual(self.caller.answer().body, b"ab")

    def test_half_an_answer_does_not_look_like_a_whole_one(self) -> None:
        for head in (b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            with self.subTest(head=head):
                self.setUp()
                self.exchange(b"HTTP/1.1 200 OK\r\n" + head)
                self.plugin.close(ConnectionLost())
                self.assertTrue(self.caller.transport.disconnecting)
                self.assertFalse(self.caller.transport.value().endswith(b"0\r\n\r\n"))
                self.caller.leave()


class CallerGoneTests(ForwarderTestCase):
    def test_before_the_connection(self) -> None:
        self.caller.ask("GET", "/")
        self.caller.leave()
        self.assertEqual(len(self.in_flight), 0)

    def test_before_the_answer(self) -> None:
        self.caller.ask("GET", "/")
        wire = self.plugin.accept()
        self.caller.leave()
        self.assertTrue(wire.disconnected, "the plugin works on")

    def test_in_the_middle_of_the_answer(self) -> None:
        for head in (b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"):
            with self.subTest(head=head):
                self.setUp()
                self.exchange(b"HTTP/1.1 200 OK\r\n" + head)
                wire = self.plugin.accepted
                self.caller.leave()
                self.assertTrue(wire.disconnecting, "the plugin works on")
                self.plugin.close()
                self.assertEqual(len(self.in_flight), 0)

    def test_an_answer_that_was_on_its_way(self) -> None:
        """What the plugin sent before it saw that the connection is closed goes nowhere."""
        self.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        self.caller.leave()
        self.plugin.send(b" the rest of")
        self.plugin.close()
        self.assertEqual(len(self.in_flight), 0)


class BodyTests(TestCase):
    """Bodies are written piece by piece, which takes turns of the reactor."""

    timeout = 10

    async def test_a_body_is_kept_as_it_came(self) -> None:
        plugin, in_flight = Peer(), InFlight()
        caller = Caller(Forwarder(plugin.agent, "http://127.0.0.1:9001", 30, in_flight, plugin.reactor))
        body = bytes(range(256)) * 1000
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            caller.ask(method, "/", "Content-Type: x/y", body=body)
            wire = plugin.accept()
            await wire.until(body)
            head, _, sent = wire.value().partition(b"\r\n\r\n")
            self.assertEqual(sent, body)
            self.assertEqual(head.lower().count(b"content-length: 256000"), 1)
            self.assertNotIn(b"transfer-encoding", head.lower())
            await self.turn()
            plugin.send(b"HTTP/1.1 204 X\r\n\r\n")
            self.assertEqual(caller.answer().status, 204)

    async def test_a_body_in_chunks_is_sent_with_its_length(self) -> None:
        plugin, in_flight = Peer(), InFlight()
        caller = Caller(Forwarder(plugin.agent, "http://127.0.0.1:9001", 30, in_flight, plugin.reactor))
        caller.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        wire = plugin.accept()
        await wire.until(b"\r\n\r\nabcde")
        self.assertIn(b"content-length: 5\r\n", wire.value().lower())
        await self.turn()
        plugin.send(b"HTTP/1.1 204 X\r\n\r\n")
        self.assertEqual(caller.answer().status, 204)

    async def test_no_body(self) -> None:
        for method, length in (("POST", 1), ("PUT", 1), ("GET", 0), ("DELETE", 0)):
            with self.subTest(method=method):
                plugin, in_flight = Peer(), InFlight()
                caller = Caller(
                    Forwarder(plugin.agent, "http://127.0.0.1:9001", 30, in_flight, plugin.reactor)
                )
                caller.ask(method, "/", *(["Content-Length: 0"] if length else []))
                head = plugin.accept().value().lower()
                self.assertEqual(head.count(b"content-length: 0\r\n"), length)
                caller.leave()

    def turn(self) -> defer.Deferred[None]:
        """:returns: a Deferred that fires once the writer has seen the end of the body."""
        from twisted.internet import reactor, task

        return task.deferLater(reactor, 0.01)
