"""Tests for scfd.triggers.nats.message: a delivery, and the event that it is."""

from __future__ import annotations

import base64
import json
from typing import Any

from attrs import evolve
from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import NatsSettings
from scfd.events.event import TriggerEvent
from scfd.events.tasks import EMPTY_SNAPSHOT, TaskSnapshot
from scfd.triggers.nats.message import Delivery, MessageEvent, message_payload
from tests.nats_fakes import Message
from tests.properties import given

#: Third delivery of message 42 of stream SAMPLES, stored at 2025-01-01T00:01:00.250Z.
REPLY = "$JS.ACK.SAMPLES.rolling-mean.3.42.7.1735689660250000000.0"
#: The same from a server with a domain, and from one without a token at the end.
REPLY_WITH_DOMAIN = "$JS.ACK.hub.ACCOUNT.SAMPLES.rolling-mean.3.42.7.1735689660250000000.0.x1"
REPLY_WITHOUT_TOKEN = "$JS.ACK._.ACCOUNT.SAMPLES.rolling-mean.3.42.7.1735689660250000000.0"

TRIGGER = NatsSettings("my-queue", "nats://127.0.0.1:4222", "SAMPLES", "rolling-mean", "samples.>", timeout=7)


def a_message(data: bytes = b"{}", reply: str = REPLY, headers: dict[str, str] | None = None) -> Message:
    return Message(subject="samples.cpu", reply=reply, data=data, headers=headers)


def an_event(*args: Any, **kwargs: Any) -> MessageEvent:
    return MessageEvent.of(TRIGGER, Delivery(a_message(*args, **kwargs)))


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


class DeliveryTests(SynchronousTestCase):
    def test_what_its_reply_says(self) -> None:
        for reply in (REPLY, REPLY_WITH_DOMAIN, REPLY_WITHOUT_TOKEN):
            with self.subTest(reply):
                delivery = Delivery(a_message(reply=reply))
                self.assertEqual((delivery.stream, delivery.sequence, delivery.delivered), ("SAMPLES", 42, 3))
                self.assertEqual(delivery.stored.isoformat(), "2025-01-01T00:01:00.250000+00:00")

    def test_deliveries_of_one_message_have_the_same_key(self) -> None:
        first = Delivery(a_message(reply=REPLY))
        again = Delivery(a_message(reply=REPLY.replace(".3.42.7.", ".4.42.9.")))
        other_stream_of_the_name = Delivery(a_message(reply=REPLY.replace(".17356", ".17357")))
        self.assertEqual(first.key, again.key)
        self.assertNotEqual(first.key, other_stream_of_the_name.key)
        first.replaced_by(again)
        self.assertEqual((first.reply, first.delivered), (again.reply, 4))


class MessageEventTests(SynchronousTestCase):
    def test_the_event(self) -> None:
        for reply in (REPLY, REPLY_WITH_DOMAIN):
            with self.subTest(reply):
                event = an_event(b'{"cpu": 0.5}', reply)
                self.assertEqual((event.type, event.name, event.timeout), ("nats", "my-queue", 7))
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

    def test_at_a_node(self) -> None:
        snapshot = TaskSnapshot(({"task_id": "a"},))
        event = an_event().at_node({"nodeID": "n"}, snapshot)
        self.assertEqual((event.metadata["nodeID"], event.tasks_md5), ("n", snapshot.md5))
        self.assertRegex(event.traceparent, "^00-")

    def test_its_trace_is_continued(self) -> None:
        given = f"00-{'a' * 32}-{'b' * 16}-00"
        event = an_event(headers={"traceparent": given}).at_node({"nodeID": "n"}, EMPTY_SNAPSHOT)
        self.assertEqual(event.traceparent[:35], given[:35])

    def test_is_a_value_like_any_other_event(self) -> None:
        event = an_event(b'"x"')
        self.assertEqual(event, an_event(b'"x"'))
        self.assertNotEqual(event, an_event(b'"y"'))
        self.assertEqual(evolve(event, name="other").payload, "x")
        self.assertIn("'x'", repr(event))
        with self.assertRaises(AttributeError):
            event.nothing  # noqa: B018

    def test_headers_keep_their_names(self) -> None:
        event = an_event(headers={"Nats-Message-Id": "abc", "x-Trace": ""})
        self.assertEqual(event.metadata["header.Nats-Message-Id"], "abc")
        self.assertEqual(event.metadata["header.x-Trace"], "")

    def test_a_header_can_not_stand_in_for_metadata(self) -> None:
        event = an_event(headers={"stream": "OTHER", "subject": "other"})
        self.assertEqual((event.metadata["stream"], event.metadata["subject"]), ("SAMPLES", "samples.cpu"))
        self.assertEqual(event.metadata["header.stream"], "OTHER")

    def test_bytes_say_so(self) -> None:
        event = an_event(b"\xff")
        self.assertEqual((event.payload, event.metadata["payload_encoding"]), ("/w==", "base64"))

    def test_what_rides_beside_the_message(self) -> None:
        snapshot = TaskSnapshot(({"task_id": "a"},))
        for tasks, keys in (
            ("snapshot", {"tasks", "tasks_md5"}),
            ("digest", {"tasks_md5"}),
            ("none", set()),
        ):
            trigger = evolve(TRIGGER, tasks=tasks)
            event = MessageEvent.of(trigger, Delivery(a_message())).at_node({"nodeID": "n"}, snapshot)
            self.assertEqual(set(json.loads(event.to_json())) - {"type", "name", "payload", "metadata"}, keys)
            self.assertEqual(event.tasks, snapshot.tasks)
