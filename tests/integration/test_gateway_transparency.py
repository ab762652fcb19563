"""What goes through the gateway arrives as it was sent, byte for byte, both ways."""

from __future__ import annotations

import os
from collections import deque

from hypothesis import HealthCheck, Phase, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.integration import gateway_rig
from tests.integration.gateway_messages import Request, Response, added_to, exchanges, without
from tests.integration.gateway_rig import Rig
from tests.integration.raw_http import Message, Stream

#: Some more: SCFD_EXAMPLES=20000 .venv/bin/trial tests.integration.test_gateway_transparency
EXAMPLES = int(os.environ.get("SCFD_EXAMPLES", "200"))
#: What the gateway says about its own connection, and by which the platform knows the request.
ADDED_TO_REQUESTS = frozenset(
    b"gateway-tag x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id transfer-encoding".split()
)
ADDED_TO_ANSWERS = frozenset(b"x-request-id connection transfer-encoding".split())


class TransparencyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig(preserve_host=True, request_buffer=0)
        self.addCleanup(self.rig.close)

    def test_any_messages(self) -> None:
        # Shrinking an example takes longer than reading it.
        phases = [Phase.explicit, Phase.reuse, Phase.generate]
        checks = list(HealthCheck)
        setting = settings(max_examples=EXAMPLES, deadline=None, phases=phases, suppress_health_check=checks)
        setting(given(exchanges())(self.tell_and_check))()

    def tell_and_check(self, exchanged: list[tuple[Request, Response]]) -> None:
        try:
            self.check_exchange(exchanged)
        except Exception as error:
            # trial does not show what hypothesis says of the example.
            told = "\n".join(f"{request.data!r}\n    {response.data!r}" for request, response in exchanged)
            self.fail(f"{error!r}\nin requests and responses\n{told}")

    def check_exchange(self, exchanged: list[tuple[Request, Response]]) -> None:
        plugin = self.rig.plugin
        plugin.forget()
        waiting = deque(gateway_rig.Response(response.data, response.close) for _, response in exchanged)
        plugin.response = lambda request: waiting.popleft()
        with self.rig.connect() as stream:
            stream.send(b"".join(request.data for request, _ in exchanged))
            for request, response in exchanged:
                self.check_response(stream.response(request.bodiless), request, response)
        self.assertEqual((len(plugin.heads), plugin.errors), (len(exchanged), []))
        for got, (request, _) in zip(plugin.requests, exchanged, strict=True):
            self.check_request(got, request)

    def check_request(self, got: Message, sent: Request) -> None:
        self.assertEqual(got.line, sent.line)
        self.assertEqual(without(got.headers, ADDED_TO_REQUESTS), sent.headers)
        added = added_to(got, ADDED_TO_REQUESTS)
        self.assertEqual(added.pop(b"transfer-encoding", None) is not None, got.chunked)
        added.pop(b"x-request-id", None)
        self.assertEqual(added, sent.added)
        self.assertEqual(got.body, sent.body)

    def check_response(self, got: Message, request: Request, response: Response) -> None:
        self.assertEqual(got.line, response.line)
        self.assertEqual(without(got.headers, ADDED_TO_ANSWERS), response.headers)
        self.assertEqual(got.body, response.body)
        self.assertFalse(got.chunked and request.minor == 0)

    def exchange(self, stream: Stream, data: bytes) -> Message:
        stream.send(data)
        return stream.response()

    def test_a_caller_of_http_1_0_without_a_host(self) -> None:
        with self.rig.connect() as stream:
            self.assertEqual(self.exchange(stream, b"GET / HTTP/1.0\r\n\r\n").body, b"ok")
            self.assertEqual(stream.rest(), b"")
        (got,) = self.rig.plugin.requests
        self.assertEqual(got.values(b"host"), [b"127.0.0.1:%d" % self.rig.plugin.port])
        self.assertEqual(got.values(b"x-forwarded-host"), [])
