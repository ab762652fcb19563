"""Tests for what scfd.triggers.nats makes of a message."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings, strategies
from nats.aio.msg import Msg
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from scfd.availability import Availability
from scfd.config import NatsTrigger as Settings
from scfd.interfaces import ITrigger
from scfd.metrics import Metrics
from scfd.model import TriggerEvent
from scfd.readiness import Readiness
from scfd.triggers.nats import NatsTrigger, message_event, message_payload

#: Third delivery of message 42 of stream SAMPLES, stored at 2025-01-01T00:01:00.250Z.
REPLY = "$JS.ACK.SAMPLES.rolling-mean.3.42.7.1735689660250000000.0"
#: The same from a server with a domain.
REPLY_WITH_DOMAIN = "$JS.ACK.hub.ACCOUNT.SAMPLES.rolling-mean.3.42.7.1735689660250000000.0.x1"


def a_message(data: bytes = b"{}", reply: str = REPLY, headers: dict[str, str] | None = None) -> Msg:
    client: Any = None  # only acknowledging needs it
    return Msg(client, subject="samples.cpu", reply=reply, data=data, headers=headers)


class MessagePayloadTests(SynchronousTestCase):
    def test_json_is_its_value_and_is_not_encoded_again(self) -> None:
        for data, value in (
            (b'{ "a": [1.50] }', {"a": [1.5]}),
            (b"null", None),
            (b' "text"\n', "text"),
            (b"7", 7),
        ):
            self.assertEqual(message_payload(data), (value, data, {}))

    def test_other_text_is_a_string(self) -> None:
        for text in ("hello", "", "{'a': 1}", "NaN", "{", "\ufeff{}", "1e999", "é"):
            with self.subTest(text):
                self.assertEqual(message_payload(text.encode()), (text, None, {}))

    def test_other_bytes_are_base64(self) -> None:
        self.assertEqual(message_payload(b"\xff\x00\x80"), ("/wCA", None, {"payload_encoding": "base64"}))

    @settings(deadline=None)
    @given(strategies.binary() | strategies.text().map(str.encode))
    def test_no_message_is_lost_on_the_way_to_the_plugin(self, data: bytes) -> None:
        payload, encoded, metadata = message_payload(data)
        event = TriggerEvent("nats", "q", payload, metadata, payload_json=encoded)
        arrived = json.loads(event.to_json())["payload"]
        self.assertEqual(arrived, payload)
        if metadata:
            self.assertEqual(base64.b64decode(arrived), data)
        elif encoded is None:
            self.assertEqual(arrived.encode(), data)
        else:
            self.assertEqual(arrived, json.loads(data))


class MessageEventTests(SynchronousTestCase):
    def test_the_event(self) -> None:
        for reply in (REPLY, REPLY_WITH_DOMAIN):
            with self.subTest(reply):
                event = message_event("my-queue", a_message(b'{"cpu": 0.5}', reply))
                self.assertEqual((event.type, event.name), ("nats", "my-queue"))
                self.assertEqual((event.payload, event.payload_json), ({"cpu": 0.5}, b'{"cpu": 0.5}'))
                self.assertEqual(
                    event.metadata,
                    {
                        "subject": "samples.cpu",
                        "stream": "SAMPLES",
                        "stream_sequence": "42",
                        "num_delivered": "3",
                        "nats_timestamp": "2025-01-01T00:01:00.250Z",
                    },
                )

    def test_headers_keep_their_names(self) -> None:
        event = message_event("my-queue", a_message(headers={"Nats-Msg-Id": "abc", "x-Trace": ""}))
        self.assertEqual(event.metadata["header.Nats-Msg-Id"], "abc")
        self.assertEqual(event.metadata["header.x-Trace"], "")

    def test_a_header_can_not_stand_in_for_metadata(self) -> None:
        event = message_event("my-queue", a_message(headers={"stream": "OTHER", "subject": "other"}))
        self.assertEqual((event.metadata["stream"], event.metadata["subject"]), ("SAMPLES", "samples.cpu"))
        self.assertEqual(event.metadata["header.stream"], "OTHER")

    def test_bytes_say_so(self) -> None:
        event = message_event("my-queue", a_message(b"\xff"))
        self.assertEqual((event.payload, event.metadata["payload_encoding"]), ("/w==", "base64"))


class NatsTriggerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.readiness = Readiness(lambda: 0.0)
        settings = Settings("my-queue", "nats://127.0.0.1:4222", "SAMPLES", "samples.>", "rolling-mean")
        self.trigger = NatsTrigger(settings, self.dispatch, Metrics(), self.readiness, Availability(True))

    def dispatch(self, event: TriggerEvent) -> Deferred[None]:
        return succeed(None)

    def test_is_a_trigger(self) -> None:
        verifyObject(ITrigger, self.trigger)

    def test_drain_and_stop_before_it_has_started(self) -> None:
        self.successResultOf(self.trigger.drain())
        self.assertIsNone(self.trigger.stopService())
