"""Malformed messages: each is refused, and none becomes two."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.gateway_rig import OK, Response, Rig
from tests.integration.raw_http import Message, Stream
from tests.malformed import BAD_ANSWERS, BAD_BODIES, BAD_HEADS, ONE_REQUEST, SMUGGLED

#: What a refused request gets a response with.
REFUSALS = (400, 405, 413, 414, 417, 431, 501, 505)


class MalformedTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.rig = Rig()
        self.addCleanup(self.rig.close)

    def refusal(self, stream: Stream) -> str:
        """What is wrong with how a request is refused; empty for nothing."""
        try:
            response = stream.response()
        except (EOFError, ValueError, TimeoutError) as error:
            return f"no response: {error!r}"
        if response.status not in REFUSALS:
            return f"responded {response.line!r}"
        if response.values(b"connection") != [b"close"]:
            return f"the response does not say close: {response.headers}"
        behind = stream.rest()
        return f"behind the response: {behind!r}" if behind else ""

    def next_one(self) -> str:
        """What is wrong with the next request, which a refused one must not have touched."""
        self.rig.plugin.forget()
        with self.rig.connect() as stream:
            stream.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            response = stream.response()
        heads = [head.line for head in self.rig.plugin.heads]
        if response.body != b"ok" or heads != [b"GET /next HTTP/1.1"]:
            return f"the next request: {response}, the plugin saw {heads}"
        return ""

    def refused(self, data: bytes, heads: int) -> str:
        plugin = self.rig.plugin
        plugin.forget()
        with self.rig.connect() as stream:
            stream.socket.settimeout(3)  # what waits for more takes it for the beginning of something legal
            stream.send(data + SMUGGLED)
            wrong = self.refusal(stream)
        if len(plugin.heads) > heads or plugin.requests:
            return f"{wrong}; the plugin saw {[head.line for head in plugin.heads]}, whole {plugin.requests}"
        return wrong or self.next_one()

    def test_heads(self) -> None:
        wrong = {name: self.refused(data, 0) for name, data in BAD_HEADS.items()}
        self.assertEqual({name: what for name, what in wrong.items() if what}, {})

    def test_bodies(self) -> None:
        wrong = {name: self.refused(data, 1) for name, data in BAD_BODIES.items()}
        self.assertEqual({name: what for name, what in wrong.items() if what}, {})

    def test_one_request_stays_one(self) -> None:
        wrong = {name: self.forwarded_once(data) for name, data in ONE_REQUEST.items()}
        self.assertEqual({name: what for name, what in wrong.items() if what}, {})

    def forwarded_once(self, data: bytes) -> str:
        plugin = self.rig.plugin
        plugin.forget()
        with self.rig.connect() as stream:
            stream.send(data)
            response = stream.response(bodiless=data.startswith(b"HEAD"))
        if response.status in REFUSALS and not plugin.requests:
            return self.next_one()
        if plugin.errors or len(plugin.heads) != 1 or len(plugin.requests) != 1:
            return f"the plugin saw {plugin.heads}, {plugin.errors}"
        (request,) = plugin.requests
        if request.body != (SMUGGLED if SMUGGLED in data else b""):
            return f"the body: {request.body!r}"
        return self.unchanged(request) or self.next_one()

    def unchanged(self, request: Message) -> str:
        """What makes a request dangerous for those behind the gateway; empty for nothing."""
        dangerous = [request.values(name) for name in (b"upgrade", b"http2-settings", b"trailer")]
        host = request.values(b"host")
        if any(dangerous) or len(host) != 1 or b"/case " not in request.line:
            return f"{request}"
        return ""

    def test_responses(self) -> None:
        wrong = {name: self.poisoned(data) for name, data in BAD_ANSWERS.items()}
        self.assertEqual({name: what for name, what in wrong.items() if what}, {})

    def poisoned(self, data: bytes) -> str:
        """What is wrong with the responses of a caller whose plugin responds so; empty for nothing."""
        plugin = self.rig.plugin
        plugin.forget()
        plugin.response = lambda request: Response(
            data if request.line.startswith(b"GET /case ") else OK, True
        )
        with self.rig.connect() as stream:
            stream.send(b"GET /case HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                first = stream.response()
                second = stream.response()
            except EOFError:
                return self.next_one()  # broken off
            except ValueError as error:
                return str(error)
        if first.status not in (200, 204, 304, 502) or second.body != b"ok":
            return f"{first}, {second}"
        if b"poison" in first.body:
            return f"{first}"
        return self.next_one()
