"""Tests for scfd.events.long_json."""

from __future__ import annotations

import gc
import json
import threading
import time
from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.events import long_json
from scfd.events.long_json import from_long_json, without_collections
from scfd.events.wire import from_json
from tests.properties import given

_VALUES: Any = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3)
    ),
)


def outcome(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except ValueError:
        return ValueError


class FromLongJsonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(long_json, "LONG", 0)

    @given(_VALUES, strategies.sampled_from([None, 1, "\t"]))
    def test_reads_what_from_json_reads(self, value: Any, indent: Any) -> None:
        data = json.dumps(value, indent=indent).encode()
        self.assertEqual(from_long_json(data), from_json(data))

    @given(strategies.text(alphabet='{}[]":,1a \\u\n-.eN'))
    def test_refuses_what_from_json_refuses(self, text: str) -> None:
        data = text.encode()
        self.assertEqual(outcome(from_long_json, data), outcome(from_json, data))

    def test_mistakes(self) -> None:
        for data in (
            b"",
            b"[1,]",
            b'{"a":1,}',
            b'{"a" 1}',
            b"{a:1}",
            b"[1 2]",
            b"[1",
            b'{"a":1',
            b"[]x",
            b"\xff",
            b"\xef\xbb\xbf{}",
            b"[NaN]",
            b"[1e999]",
            b"[" * 100_000,
        ):
            with self.subTest(data=data[:20]):
                self.assertRaises(ValueError, from_long_json, data)

    def test_the_last_of_two_members_of_one_name_stands(self) -> None:
        self.assertEqual(from_long_json(b'{"a":1,"a":2}'), {"a": 2})


class OtherThreadsTests(SynchronousTestCase):
    def test_get_their_turn(self) -> None:
        """A list of 30,000 tasks, which C code would decode in one go, in 60 ms and more."""
        entry = {"id": 1, "task_id": "t", "rule_id": "r", "task_params": "x" * 100, "invalid": 0}
        data = json.dumps({"code": 200, "data": [{"task_instances": [entry] * 30_000}]}).encode()
        ended: list[Any] = []
        thread = threading.Thread(target=lambda: ended.append(from_long_json(data)))
        thread.start()
        turns = 0
        while thread.is_alive():
            time.sleep(0.001)
            turns += 1
        self.assertEqual(len(ended[0]["data"][0]["task_instances"]), 30_000)
        self.assertGreater(turns, 5)


class WithoutCollectionsTests(SynchronousTestCase):
    def test_none_while_a_function_runs(self) -> None:
        self.assertFalse(without_collections(gc.isenabled))
        self.assertTrue(gc.isenabled())

    def test_again_after_one_that_fails(self) -> None:
        self.assertRaises(ValueError, without_collections, int, "x")
        self.assertTrue(gc.isenabled())
