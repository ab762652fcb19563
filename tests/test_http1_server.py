"""Tests for scfd.http1.server and scfd.http1.front: order, deadlines and limits of connections."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.web.http_headers import Headers

from scfd.config import GatewaySettings
from scfd.http1.front import RESERVE
from scfd.web import Response, Routes, route
from tests.gateway_fakes import CallerEnd, GatewayTestCase, lines_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"


class Responses(Routes):
    """
    :ivar later: what ``/later`` waits for.
    :ivar bodies: what ``/echo`` has got.
    """

    def __init__(self) -> None:
        self.later: Deferred[Response] = Deferred()
        self.bodies: list[bytes] = []

    @route("GET", "/now")
    @route("HEAD", "/now")
    def now(self, headers: Headers, body: bytes) -> Response:
        return Response(200, b"now")

    @route("GET", "/later")
    def when_ready(self, headers: Headers, body: bytes) -> Deferred[Response]:
        return self.later

    @route("POST", "/echo")
    def echo(self, headers: Headers, body: bytes) -> Response:
        self.bodies.append(body)
        return Response(200, (headers.getRawHeaders(b"x-two") or [b""])[-1] + body, {"X-Kind": "echo"})

    @route("GET", "/broken")
    def broken(self, headers: Headers, body: bytes) -> Response:
        raise ZeroDivisionError


class CallerTestCase(GatewayTestCase):
    def setUp(self) -> None:
        self.routes = self.responses = Responses()
        super().setUp()


class RoutesTests(CallerTestCase):
    def test_get_responses(self) -> None:
        caller = self.caller()
        caller.ask("POST", "/echo?x=1", "X-Two: 1", "X-Two: 2", "X-Request-Id: r", body=b"body")
        self.assertEqual(
            caller.take(),
            b"HTTP/1.1 200 OK\r\nX-Kind: echo\r\nContent-Length: 5\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
            b"X-Request-Id: r\r\n\r\n2body",
        )
        caller.ask("HEAD", "/now")
        _, headers, body = lines_of(caller.take())
        self.assertIn("Content-Length: 3", headers)
        self.assertEqual(body, b"")

    def test_by_a_whole_url(self) -> None:
        caller = self.caller()
        caller.ask("GET", "http://elsewhere/now?x")
        self.assertEqual(caller.response().body, b"now")

    def test_paths_count_as_they_were_sent(self) -> None:
        for method, target in (("POST", "/now"), ("GET", "/now/"), ("GET", "//now"), ("GET", "/n%6fw")):
            caller = self.caller()
            caller.ask(method, target)
            self.assertEqual(caller.take(), b"")
            self.connector.accept()

    def test_a_body_that_is_waited_for(self) -> None:
        caller = self.caller()
        caller.receive(b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        self.assertEqual(caller.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        caller.receive(b"hi")
        self.assertEqual(caller.response().body, b"hi")

    def test_a_response_that_takes_time(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/later")
        caller.ask("GET", "/now")
        self.assertEqual(caller.take(), b"")
        self.responses.later.callback(Response(200, b"later"))
        self.assertRegex(caller.take(), rb"(?s)later.*now")

    def test_a_caller_that_does_not_wait(self) -> None:
        cancelled: list[Any] = []
        self.responses.later = Deferred(cancelled.append)
        caller = self.caller()
        caller.ask("GET", "/later")
        caller.lose()
        self.assertEqual(len(cancelled), 1)

    def test_a_mistake_in_it(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/broken")
        self.assertEqual(caller.response().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_body_that_is_too_long(self) -> None:
        for request in (
            b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n"
            + b"a" * 1048577,
        ):
            caller = self.caller()
            caller.receive(request)
            self.assertEqual((caller.response().status, caller.closed), (413, True))
        self.assertEqual(self.responses.bodies, [])


class PipeliningTests(CallerTestCase):
    def test_responses_come_in_order(self) -> None:
        caller = self.caller()
        caller.receive(
            b"".join(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in (b"a", b"now", b"b"))
            + b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
        )
        plugin = self.connector.accept()
        self.assertEqual(plugin.sent.count(b"HTTP/1.1"), 1)
        self.assertFalse(caller.reading)
        plugin.receive(OK)
        self.assertTrue(plugin.sent.rpartition(b"GET ")[2].startswith(b"/b "))
        self.assertRegex(caller.take(), rb"(?s)ok.*now$")
        plugin.receive(OK)
        self.assertRegex(caller.take(), rb"(?s)ok.*x$")
        self.assertTrue(caller.reading)

    def test_other_connections_have_their_turn(self) -> None:
        caller = self.caller()
        caller.receive(b"GET /now HTTP/1.1\r\nHost: h\r\n\r\n" * 40)
        self.assertEqual(caller.take().count(b"200 OK"), 16)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(caller.take().count(b"200 OK"), 24)

    def test_a_caller_that_does_not_read_responses(self) -> None:
        caller = self.caller()
        caller.protocol.pause_writing()
        caller.receive(b"GET /now HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual((caller.take(), caller.reading), (b"", False))
        caller.protocol.resume_writing()
        self.assertEqual(caller.response().body, b"now")

    def test_nothing_is_read_behind_the_last_one(self) -> None:
        caller = self.caller()
        caller.receive(
            b"GET /now HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /now HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        self.assertEqual(caller.take().count(b"200 OK"), 1)
        self.assertTrue(caller.closed)

    def test_nothing_is_read_behind_a_refused_one(self) -> None:
        caller = self.caller()
        caller.receive(
            b"GET /now HTTP/1.1\r\nHost: h\r\n\r\nGET /a\r\n\r\nGET /now HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        self.assertRegex(caller.take(), rb"(?s)200 OK.*400 Bad Request.*Connection: close.*bad request line")
        self.assertTrue(caller.closed)
        self.assertEqual(self.connector.attempts, [])
        self.assertEqual(self.count("gateway_requests_total", code="400"), 1)


class RefusedTests(CallerTestCase):
    settings = evolve(GatewaySettings(), max_body=10, max_header=200, request_buffer=0)

    def test_a_long_body(self) -> None:
        caller = self.caller()
        caller.receive(BIG % 11)
        response = caller.response()
        self.assertEqual(
            (response.status, response.json()), (413, {"message": "the body is longer than 10 bytes"})
        )
        self.assertEqual(self.connector.attempts, [])

    def test_a_long_chunked_body(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n")
        plugin = self.connector.accept()
        caller.receive(b"6\r\n012345\r\n")
        self.assertEqual((caller.response().status, plugin.ended), (413, "aborted"))
        self.assertEqual((caller.eof, caller.ended), (True, ""))
        caller.receive(b"more of it")
        self.wait(2.2)
        self.assertEqual(caller.ended, "aborted")

    def test_in_the_middle_of_a_response(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n")
        plugin = self.connector.accept()
        plugin.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na")
        caller.receive(b"bad chunk")
        self.assertEqual((caller.ended, plugin.ended), ("aborted", "aborted"))

    def test_a_bad_chunk(self) -> None:
        caller = self.caller()
        caller.receive(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        plugin = self.connector.accept()
        caller.receive(b"zz\r\n")
        self.assertEqual((caller.response().status, plugin.ended, caller.closed), (400, "aborted", True))
        self.assertNotIn(b"0\r\n\r\n", plugin.sent)

    def test_long_headers(self) -> None:
        self.assertEqual(self.status_of(b"GET / HTTP/1.1\r\nX: " + b"a" * 300), 431)
        self.assertEqual(self.status_of(b"GET /" + b"a" * 300), 414)


class DeadlineTests(CallerTestCase):
    def after(self, seconds: float, caller: CallerEnd) -> tuple[int, str, bool]:
        """:returns: status of a response after that time, how the connection ended, whether none is read."""
        self.wait(seconds)
        sent = caller.take()
        return int(sent.split(b" ", 2)[1]) if sent else 0, caller.ended, caller.closed

    def test_nothing_is_sent(self) -> None:
        caller = self.caller()
        self.assertEqual(self.after(9.8, caller), (0, "", False))
        self.assertEqual(self.after(0.4, caller), (0, "closed", True))

    def test_half_a_head(self) -> None:
        caller = self.caller()
        for part in b"GET /n":
            caller.receive(bytes([part]))
            self.wait(1.5)
        self.assertEqual(self.after(1, caller), (0, "", False))
        self.assertEqual(self.after(0.4, caller), (408, "", True))
        self.assertEqual(self.after(2.2, caller), (0, "aborted", True))

    def test_half_a_head_behind_a_request(self) -> None:
        caller = self.caller()
        caller.receive(b"GET /now HTTP/1.1\r\nHost: h\r\n\r\nGET /n")
        caller.take()
        self.assertEqual(self.after(9.8, caller), (0, "", False))
        self.assertEqual(self.after(0.4, caller), (408, "", True))

    def test_half_a_body(self) -> None:
        caller = self.caller()
        caller.receive(BIG % 9 + b"a")
        plugin = self.connector.accept()
        self.wait(50)
        caller.receive(b"b")
        self.assertEqual(self.after(59.8, caller), (0, "", False))
        self.assertEqual(self.after(0.4, caller), (408, "", True))
        self.assertEqual(plugin.ended, "aborted")

    def test_a_plugin_that_does_not_read(self) -> None:
        caller = self.caller()
        caller.receive(BIG % 9 + b"a")
        plugin = self.connector.accept()
        plugin.protocol.pause_writing()
        self.assertEqual(self.after(60.2, caller), (504, "", True))
        self.assertEqual(plugin.ended, "aborted")

    def test_between_requests(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/now")
        caller.take()
        self.assertEqual(self.after(74.8, caller), (0, "", False))
        caller.ask("GET", "/now")
        self.assertEqual(self.after(74.8, caller), (200, "", False))
        self.assertEqual(self.after(0.4, caller), (0, "closed", True))

    def test_a_caller_that_does_not_read(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/x")
        plugin = self.connector.accept()
        plugin.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        caller.unsent = 100
        caller.protocol.pause_writing()
        self.wait(50)
        caller.unsent = 50  # slow, but it reads
        self.wait(65)
        self.assertEqual(caller.ended, "")
        self.wait(61)
        self.assertEqual((caller.ended, plugin.ended), ("aborted", "aborted"))

    def closing(self) -> CallerEnd:
        """:returns: a caller whose connection closes after a response of which 100 bytes are not sent."""
        caller = self.caller()
        caller.unsent = 100
        caller.receive(b"GET /now HTTP/1.0\r\n\r\n")
        self.assertEqual(caller.ended, "closed")
        return caller

    def test_a_slow_reader_gets_the_end_before_the_connection_closes(self) -> None:
        caller = self.closing()
        for _ in range(20):
            caller.unsent -= 4
            self.wait(30)
        self.assertEqual(caller.ended, "closed")

    def test_a_reader_that_stops_sees_a_broken_connection(self) -> None:
        caller = self.closing()
        self.wait(30)
        caller.unsent = 50
        self.wait(58)
        self.assertEqual((caller.ended, caller.reset), ("closed", False))
        self.wait(5)
        self.assertTrue(caller.reset)

    def test_stopping_breaks_off_what_is_not_sent(self) -> None:
        caller, idle = self.closing(), self.caller()
        for connection in list(self.front.connections):
            connection.stop()
        self.assertEqual((caller.reset, idle.reset, idle.ended), (True, False, "aborted"))

    def test_a_request_that_nobody_reads_is_dropped_while_it_comes(self) -> None:
        caller = self.caller()
        caller.receive(BIG % (10 << 20))
        caller.take()
        for _ in range(14):
            self.wait(1.9)
            caller.receive(b"x")
        self.assertEqual(caller.ended, "")
        self.wait(4.2)
        self.assertEqual(caller.ended, "aborted")

    def test_but_not_for_ever(self) -> None:
        caller = self.caller()
        caller.receive(BIG % (10 << 20))
        for _ in range(32):
            if not caller.ended:
                caller.receive(b"x")
            self.wait(1)
        self.assertEqual(caller.ended, "aborted")

    def test_a_caller_that_does_not_read_the_end(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/now")
        caller.unsent = 3
        self.wait(76)
        self.assertEqual(caller.ended, "aborted")


class HalfClosedTests(CallerTestCase):
    """Callers that send no more and wait for their responses."""

    def half_closed(self, *requests: bytes) -> CallerEnd:
        caller = self.caller()
        for request in requests:
            caller.receive(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % request)
        caller.stays = caller.half_closed = bool(caller.protocol.eof_received())
        return caller

    def test_a_whole_request_gets_its_response(self) -> None:
        caller = self.half_closed(b"x")
        self.assertTrue(caller.stays)
        self.wait(4)
        self.connector.accept().receive(OK)
        self.assertIn(b"Connection: close", caller.take())
        self.assertEqual(caller.ended, "closed")

    def test_and_so_does_each_of_several(self) -> None:
        caller = self.caller()
        caller.receive(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /now HTTP/1.1\r\nHost: h\r\n\r\n")
        caller.protocol.eof_received()
        self.connector.accept().receive(OK)
        self.assertRegex(caller.take(), rb"(?s)ok.*now$")
        self.assertEqual(caller.ended, "closed")

    def test_more_of_them_than_are_read_at_once(self) -> None:
        caller = self.caller()
        caller.receive(b"GET /now HTTP/1.1\r\nHost: h\r\n\r\n" * 40 + b"GET /n")
        self.assertTrue(caller.protocol.eof_received())
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual((caller.take().count(b"200 OK"), caller.ended), (40, "closed"))

    def test_a_response_that_has_begun_may_take_its_time(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/x")
        plugin = self.connector.accept()
        plugin.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        self.assertTrue(caller.protocol.eof_received())
        self.wait(50)
        plugin.receive(b"k")
        self.assertTrue(caller.take().endswith(b"ok"))

    def test_most_have_left(self) -> None:
        caller = self.half_closed(b"x")
        plugin = self.connector.accept()
        self.wait(5.2)
        self.assertEqual(caller.ended, "aborted")
        caller.lose(ConnectionResetError())
        self.assertEqual(plugin.ended, "aborted")
        self.assertEqual(self.count("gateway_requests_total", code="499"), 1)

    def test_nothing_whole_to_wait_for(self) -> None:
        for data in (b"", b"GET /x HT", BIG % 9 + b"a"):
            caller = self.caller()
            caller.receive(data)
            self.assertFalse(caller.protocol.eof_received())


class ConnectionsTests(CallerTestCase):
    settings = evolve(GatewaySettings(), max_connections=2)

    def test_beyond_the_limit(self) -> None:
        allowed = [self.caller() for _ in range(2)]
        surplus = self.caller()
        surplus.ask("GET", "/x")
        response = surplus.response()
        self.assertEqual((response.status, response.json()), (503, {"message": "too many connections"}))
        self.assertTrue(surplus.closed)
        self.assertEqual(self.count("gateway_refused_total"), 1)
        allowed[0].lose()
        surplus.lose()
        later = self.caller()
        later.ask("GET", "/now")
        self.assertFalse(later.closed)

    def test_health_still_gets_a_response(self) -> None:
        for _ in range(2):
            self.caller()
        surplus = self.caller()
        surplus.ask("GET", "/now")
        self.assertEqual((surplus.response().status, surplus.ended), (200, "closed"))

    def test_who_is_late_does_not_hold_the_reserve(self) -> None:
        callers = [self.caller() for _ in range(3)]
        self.wait(1.2)
        self.assertEqual([caller.ended for caller in callers], ["", "", "closed"])

    def test_far_beyond(self) -> None:
        """Those that say nothing don't keep others out."""
        silent = [self.caller() for _ in range(2 + RESERVE)]
        self.assertEqual([caller.ended for caller in silent], [""] * len(silent))
        caller = self.caller()
        caller.ask("GET", "/now")
        self.assertEqual(caller.response().body, b"now")
        self.assertEqual((silent[2].response().status, silent[2].ended), (503, "closed"))
        self.assertEqual(silent[3].ended, "")


class DrainingTests(CallerTestCase):
    def test_new_requests(self) -> None:
        caller, other = self.caller(), self.caller()
        self.front.draining = True
        caller.ask("GET", "/x")
        self.assertEqual((caller.response().status, caller.ended), (503, "closed"))
        other.ask("GET", "/now")
        self.assertEqual((other.response().status, other.ended), (200, "closed"))

    def test_responses_under_way(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/x")
        plugin = self.connector.accept()
        self.front.draining = True
        self.assertEqual(self.front.busy(), 1)
        plugin.receive(OK)
        self.assertIn(b"Connection: close", caller.take())
        self.assertEqual((caller.ended, self.front.busy()), ("closed", 0))

    def test_bytes_that_are_not_sent_yet(self) -> None:
        caller = self.caller()
        caller.ask("GET", "/now")
        caller.unsent = 3
        self.assertEqual(self.front.busy(), 1)

    def test_idle_connections(self) -> None:
        idle, busy = self.caller(), self.caller()
        idle.ask("GET", "/now")
        busy.ask("GET", "/x")
        self.front.draining = True
        self.wait(0.5)
        self.assertEqual(idle.ended, "")  # a request may be on its way
        self.wait(1)
        self.assertEqual((idle.ended, busy.ended), ("closed", ""))


class AccessLogTests(CallerTestCase):
    settings = evolve(GatewaySettings(), access_log=True)

    def test_a_line_for_each_request(self) -> None:
        with capturedLogs() as logs:
            caller = self.caller()
            caller.ask("GET", "/now?token=s3cret", "X-Request-Id: r-1")
            self.clock.advance(1)
            caller.receive(b"garbage\r\n\r\n")
            gone = self.caller(("::ffff:10.9.8.7", 1))
            gone.ask("GET", "/x", "X-Request-Id: r-2")
            self.clock.advance(1.5)
            gone.lose()
        lines = [formatEvent(event) for event in logs]
        self.assertRegex(lines[0] or "", r"^10\.1\.2\.3 GET /now 200 \d+ B 0\.000 s r-1$")
        self.assertRegex(lines[1] or "", r"^10\.1\.2\.3 - - 400 \d+ B \d\.\d+ s -$")
        self.assertEqual(lines[2:], ["10.9.8.7 GET /x 499 0 B 1.500 s r-2"])
        self.assertEqual(logs[0]["log_namespace"], "scfd.access")
