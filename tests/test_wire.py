"""Tests for scfd.events.wire."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.events.wire import from_json, rfc3339, to_json
from tests.properties import given

#: Half surrogate pairs included, which JSON can carry and UTF-8 can't.
any_text = strategies.text(strategies.characters())

json_values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: strategies.lists(inner) | strategies.dictionaries(any_text, inner),
    max_leaves=20,
)


class ToJsonTests(SynchronousTestCase):
    def test_compact_and_in_ascii(self) -> None:
        self.assertEqual(to_json({"a": [1, "é", None]}), b'{"a":[1,"\\u00e9",null]}')

    def test_refuses_what_json_does_not_have(self) -> None:
        for value in (float("nan"), float("inf"), [-float("inf")]):
            self.assertRaises(ValueError, to_json, value)
        self.assertRaises(TypeError, to_json, b"bytes")

    @given(json_values)
    def test_is_read_back_as_it_was(self, value: Any) -> None:
        encoded = to_json(value)
        self.assertTrue(encoded.isascii())
        self.assertEqual(from_json(encoded), value)


class FromJsonTests(SynchronousTestCase):
    def test_nothing_looser_than_json(self) -> None:
        refused = {
            "empty": b"",
            "two values": b"1 2",
            "not a number": b"NaN",
            "infinity inside": b'{"a": [-Infinity]}',
            "beyond a float": b'{"a": 1e999}',
            "byte order mark": b"\xef\xbb\xbf{}",
            "UTF-16": '{"a": 1}'.encode("utf-16"),
            "Latin-1": b'"\xe9"',
            "single quotes": b"{'a': 1}",
            "nested too deeply": b"[" * 100_000,
        }
        for what, data in refused.items():
            with self.subTest(what):
                self.assertRaises(ValueError, from_json, data)

    def test_utf8(self) -> None:
        self.assertEqual(from_json('{"é": "火"}'.encode()), {"é": "火"})

    @given(strategies.binary() | strategies.text().map(str.encode))
    def test_raises_nothing_but_value_error(self, data: bytes) -> None:
        try:
            value = from_json(data)
        except ValueError:
            return
        self.assertEqual(value, json.loads(data.decode()))


class Rfc3339Tests(SynchronousTestCase):
    def test_whole_seconds(self) -> None:
        self.assertEqual(rfc3339(1_735_689_660), "2025-01-01T00:01:00Z")
        self.assertEqual(rfc3339(0.0), "1970-01-01T00:00:00Z")
        self.assertEqual(rfc3339(0.0, milliseconds=True), "1970-01-01T00:00:00.000Z")

    def test_parts_of_a_second_as_milliseconds(self) -> None:
        self.assertEqual(rfc3339(1_735_689_660.25), "2025-01-01T00:01:00.250Z")

    def test_another_zone_becomes_utc(self) -> None:
        moment = datetime(2025, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        self.assertEqual(rfc3339(moment), "2024-12-31T20:00:00Z")
