"""Tests for scfd.web."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request

from scfd.site import Guarded, NoSuchPath, RoutesResource, origin_form
from scfd.web import Response, Routes, route
from tests.http_fakes import Caller


class Greeter(Routes):
    """
    :ivar bodies: what was posted.
    :ivar pending: what ``/slow`` answers with.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.cancelled = 0
        self.pending: Deferred[Response] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    @route("GET", "/hello")
    @route("HEAD", "/hello")
    def hello(self, headers: Headers, body: bytes) -> Response:
        asked = headers.getRawHeaders(b"x-name", [b"you"])[0].decode()
        return Response(200, f"hello {asked}".encode(), {"Content-Type": "text/plain"})

    @route("POST", "/keep")
    def keep(self, headers: Headers, body: bytes) -> Response:
        self.bodies.append(body)
        return Response.json({"kept": len(body)}, 201)

    @route("GET", "/slow")
    def slow(self, headers: Headers, body: bytes) -> Deferred[Response]:
        return self.pending

    @route("GET", "/broken")
    def broken(self, headers: Headers, body: bytes) -> Response:
        raise RuntimeError("secret")

    @route("GET", "/broken-later")
    def broken_later(self, headers: Headers, body: bytes) -> Deferred[Response]:
        return fail(RuntimeError("secret"))


class Seen(Resource):
    """Answers with the path as it was sent."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"otherwise " + request.uri


class RoutesTests(SynchronousTestCase):
    def test_finds_declared_methods(self) -> None:
        greeter = Greeter()
        self.assertEqual(greeter.handler(b"GET", b"/hello"), greeter.hello)
        self.assertEqual(greeter.handler(b"HEAD", b"/hello"), greeter.hello)
        self.assertIsNone(greeter.handler(b"POST", b"/hello"))
        self.assertIsNone(greeter.handler(b"GET", b"/hello/"))
        self.assertIsNone(greeter.handler(b"get", b"/hello"))

    def test_each_instance_answers_for_itself(self) -> None:
        one, two = Greeter(), Greeter()
        self.assertEqual(one.handler(b"GET", b"/slow"), one.slow)
        self.assertEqual(two.handler(b"GET", b"/slow"), two.slow)


class WebTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = Greeter()
        self.caller = Caller(RoutesResource(self.routes, Seen()), max_body=100)


class TargetTests(WebTestCase):
    def test_origin_form(self) -> None:
        for target, path in (
            (b"/", b"/"),
            (b"/a?b", b"/a?b"),
            (b"//a/..//b%2F", b"//a/..//b%2F"),
            (b"http://host:80/a?b", b"/a?b"),
            (b"HTTPS://host/a", b"/a"),
            (b"http://host", b"/"),
            (b"http://host?a=/b", b"/?a=/b"),
            (b":29221/secret", None),
            (b".evil.example/", None),
            (b"@host", None),
            (b"foo", None),
            (b"*", None),
            (b"", None),
        ):
            with self.subTest(target=target):
                self.assertEqual(origin_form(target), path)

    def test_a_target_that_is_none_is_refused(self) -> None:
        """Put behind a base URL it would choose another port or host."""
        for target in (":29221/secret", ".evil.example/", "@host", "foo"):
            with self.subTest(target=target):
                self.assertEqual(self.caller.request("GET", target).status, 400)

    def test_absolute_form(self) -> None:
        self.assertEqual(self.caller.request("GET", "http://node/hello").body, b"hello you")

    def test_two_hosts(self) -> None:
        self.assertEqual(self.caller.request("GET", "/hello", "Host: a", "Host: b").status, 400)


class RoutesResourceTests(WebTestCase):
    def test_answers_what_has_a_route(self) -> None:
        answer = self.caller.request("GET", "/hello", "X-Name: Ada")
        self.assertEqual((answer.status, answer.body), (200, b"hello Ada"))
        self.assertEqual(answer.header("content-type"), ["text/plain"])
        self.assertEqual(answer.header("content-length"), ["9"])

    def test_the_query_is_no_part_of_the_path(self) -> None:
        self.assertEqual(self.caller.request("GET", "/hello?a=/x").body, b"hello you")

    def test_head_is_get_without_its_body(self) -> None:
        self.caller.ask("HEAD", "/hello")
        self.assertTrue(self.caller.transport.value().endswith(b"\r\n\r\n"))
        answer = self.caller.answer("HEAD")
        self.assertEqual((answer.status, answer.header("content-length")), (200, ["9"]))

    def test_hands_on_the_body(self) -> None:
        answer = self.caller.request("POST", "/keep", body=b"x" * 100)
        self.assertEqual((answer.status, answer.json()), (201, {"kept": 100}))
        self.assertEqual(answer.header("content-type"), ["application/json"])

    def test_a_form_reaches_its_route_as_it_was_sent(self) -> None:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; x"):
            with self.subTest(kind=kind):
                answer = self.caller.request("POST", "/keep", f"Content-Type: {kind}", body=b"a=1&b")
                self.assertEqual((answer.status, self.routes.bodies.pop()), (201, b"a=1&b"))

    def test_everything_else_goes_on_as_it_came(self) -> None:
        for method, target in (
            ("POST", "/hello"),
            ("GET", "/"),
            ("GET", "/hello/"),
            ("GET", "//hello"),
            ("GET", "/%68ello"),
            ("GET", "/a/../hello?x=1&x=2"),
        ):
            with self.subTest(method=method, target=target):
                self.assertEqual(self.caller.request(method, target).body, f"otherwise {target}".encode())

    def test_nothing_else_is_404(self) -> None:
        answer = Caller(RoutesResource(self.routes, NoSuchPath())).request("GET", "/nothing")
        self.assertEqual((answer.status, answer.json()), (404, {"message": "no such path"}))

    def test_many_requests_on_one_connection(self) -> None:
        for _ in range(3):
            self.assertEqual(self.caller.request("GET", "/hello").status, 200)
        self.assertFalse(self.caller.transport.disconnecting)
        self.assertEqual(self.caller.answered, [200, 200, 200])

    def test_waits_for_a_later_answer(self) -> None:
        self.caller.ask("GET", "/slow")
        self.assertEqual(self.caller.transport.value(), b"")
        self.routes.pending.callback(Response(202, b"done"))
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.body), (202, b"done"))

    def test_a_fault_is_logged_and_told_without_its_details(self) -> None:
        for target in ("/broken", "/broken-later"):
            with self.subTest(target=target), capturedLogs() as events:
                answer = self.caller.request("GET", target)
                self.assertEqual((answer.status, answer.json()), (500, {"message": "internal error"}))
                self.assertEqual([e["log_format"] for e in events], ["a request could not be handled"])
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_caller_who_leaves_cancels_the_work(self) -> None:
        self.caller.ask("GET", "/slow")
        self.caller.leave()
        self.assertEqual(self.routes.cancelled, 1)
        self.assertEqual(self.caller.transport.value(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])


class GuardedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.routes = Greeter()
        hosts = ["Ops.example.com", "dotted.example."]
        self.caller = Caller(Guarded(RoutesResource(self.routes, NoSuchPath()), hosts))

    def statuses(self, method: str, path: str, *hosts: str, further: tuple[str, ...] = ()) -> set[int]:
        return {
            self.caller.request(method, path, f"Host: {host}", *further, body=b"{}").status for host in hosts
        }

    def test_hosts_that_a_page_cannot_have(self) -> None:
        known = (
            "127.0.0.1",
            "10.1.2.3:9002",
            "[::1]",
            "[::1]:9002",
            "localhost",
            "LOCALHOST:1",
            "a.localhost",
        )
        self.assertEqual(
            self.statuses("GET", "/hello", *known, "ops.example.com", "ops.EXAMPLE.com.:9002"), {200}
        )

    def test_a_host_of_the_config_with_the_dot_of_the_root(self) -> None:
        self.assertEqual(self.statuses("GET", "/hello", "dotted.example", "dotted.example.:9002"), {200})

    def test_hosts_that_it_may_have(self) -> None:
        with capturedLogs() as logs:
            unknown = (
                "evil.example",
                "evil.example:9002",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
            )
            self.assertEqual(self.statuses("GET", "/hello", *unknown, "xops.example.com"), {403})
        self.assertEqual(len(logs), 1)  # not one each
        self.assertNotIn("evil", repr(formatEvent(logs[0])))

    def test_no_host_at_all(self) -> None:
        self.caller.send(b"GET /hello HTTP/1.0\r\n\r\n")
        self.assertEqual(self.caller.answer().status, 200)

    def test_changes_have_to_be_json(self) -> None:
        for kind, status in (("application/json", 201), ("application/json; charset=utf-8", 201), ("", 415)):
            further = (f"Content-Type: {kind}",)
            self.assertEqual(self.statuses("POST", "/keep", "localhost", further=further), {status})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            further = (f"Content-Type: {kind}",)
            self.assertEqual(self.statuses("POST", "/keep", "localhost", further=further), {415})
        self.assertEqual(len(self.routes.bodies), 2)

    def test_changes_come_from_no_other_site(self) -> None:
        for header, status in (
            ("Origin: http://localhost:9002", 201),
            ("Origin: HTTP://LOCALHOST:9002", 201),
            ("Origin: http://localhost", 403),
            ("Origin: http://localhost:9003", 403),
            ("Origin: http://evil.example", 403),
            ("Origin: null", 403),
            ("Origin: ", 403),
            ("Sec-Fetch-Site: same-origin", 201),
            ("Sec-Fetch-Site: none", 201),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Sec-Fetch-Site: same-site", 403),
        ):
            with self.subTest(header=header):
                further = ("Content-Type: application/json", header)
                self.assertEqual(self.statuses("POST", "/keep", "localhost:9002", further=further), {status})
                # Reading is not a change; a browser keeps it from other sites by itself.
                self.assertEqual(self.statuses("GET", "/hello", "localhost:9002", further=(header,)), {200})

    def test_a_port_that_goes_without_saying(self) -> None:
        further = ("Content-Type: application/json", "Origin: http://localhost")
        self.assertEqual(self.statuses("POST", "/keep", "localhost", "localhost:80", further=further), {201})


class LimitedRequestTests(WebTestCase):
    def assert_refused(self) -> None:
        answer = self.caller.answer()  # fails when there is more than one
        self.assertEqual((answer.status, answer.header("connection")), (413, ["close"]))
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertEqual(self.routes.bodies, [])

    def test_refuses_by_content_length_before_the_body_has_come(self) -> None:
        self.caller.send(b"POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n")
        self.assert_refused()

    def test_refuses_by_content_length_although_the_body_has_come(self) -> None:
        self.caller.send(b"POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n" + b"x" * 101)
        self.assert_refused()

    def test_does_not_refuse_what_just_fits(self) -> None:
        self.caller.send(
            b"POST /keep HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"32\r\n" + b"x" * 50 + b"\r\n32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n"
        )  # fmt: skip
        self.assertEqual(self.caller.answer().json(), {"kept": 100})

    def test_refuses_chunks_that_add_up_to_too_much(self) -> None:
        self.caller.send(
            b"POST /keep HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"32\r\n" + b"x" * 50 + b"\r\n33\r\n" + b"x" * 51 + b"\r\n"
        )  # fmt: skip
        self.assert_refused()

    def test_refuses_chunks_whose_end_has_come(self) -> None:
        self.caller.send(
            b"POST /keep HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"32\r\n" + b"x" * 50 + b"\r\n33\r\n" + b"x" * 51 + b"\r\n33\r\n" + b"x" * 51 + b"\r\n0\r\n\r\n"
            + b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n"
        )  # fmt: skip
        self.assert_refused()

    def test_what_comes_after_a_refusal_is_not_looked_at(self) -> None:
        self.caller.send(b"POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n")
        self.caller.send(b"x" * 101 + b"POST /keep HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        self.assert_refused()

    def test_a_message_of_unclear_length_is_refused(self) -> None:
        for headers in (
            b"Content-Length: 1\r\nContent-Length: 2\r\n",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 1x\r\n",
        ):
            with self.subTest(headers=headers):
                caller = Caller(RoutesResource(self.routes, Seen()))
                caller.send(b"POST /keep HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\nx")
                self.assertEqual(caller.answer().status, 400)
                self.assertTrue(caller.transport.disconnecting)
                self.assertEqual(self.routes.bodies, [])
