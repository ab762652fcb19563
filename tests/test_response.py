"""Tests for scfd.events.response."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.events.event import TaskResult, TriggerResponse
from scfd.events.response import (
    LONGEST_RESULT,
    WrongResultError,
    parse_response,
    parse_task_response,
    usable_result,
)
from tests.properties import given


def _is_usable(result: object) -> bool:
    try:
        return usable_result(result).is_usable()
    except ValueError:
        return False


class ParseResponseTests(SynchronousTestCase):
    def test_the_documented_response(self) -> None:
        body = (
            b'{"task_results": [{"task_id": "task-001", "status": 2, "result": ""},'
            b'{"task_id": "task-002", "status": 4, "result": "why it failed"}], "new": 1}'
        )
        expected = (TaskResult("task-001", 2), TaskResult("task-002", 4, "why it failed"))
        self.assertEqual(parse_response(body), (TriggerResponse(expected), ""))

    def test_without_results(self) -> None:
        for body in (b"{}", b'{"task_results": []}', b'{"task_results": null}', b'{"other": 1}'):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), (TriggerResponse(), ""))

    def test_data_points_are_counted(self) -> None:
        point = {"times": "2026-07-01 00:00:00", "object_id": "a", "fields": {}}
        group = {"write_mode": "set_data", "dataset_id": 1, "freq": "1m", "app_key": "k"}
        for value, count in (
            ({"data_points": [point, point]}, 2),
            ({"write_groups": [{**group, "data_points": [point]}, {**group, "data_points": [point] * 3}]}, 4),
            ({"data_points": [point], "write_groups": [{**group, "data_points": [point]}]}, 2),
            ({"data_points": [], "write_groups": []}, 0),
            ({"data_points": None, "write_groups": None}, 0),
            ({"data_points": "x", "write_groups": {"a": 1}}, 1),
            ({"write_groups": ["x"]}, 1),
        ):
            with self.subTest(value=value):
                response, oddity = parse_response(json.dumps({"task_results": [], **value}).encode())
                self.assertEqual((response.unstored, oddity), (count, ""))

    def test_what_is_meant_for_task_results(self) -> None:
        for body, oddity in (
            (b'{"results": []}', "the body has 'results' and no 'task_results'"),
            (b'{"taskResults": []}', "the body has 'taskResults' and no 'task_results'"),
            (b'{"task-results": []}', "the body has 'task-results' and no 'task_results'"),
            (b'{"task_id": "a", "status": 2}', "the body is a single result"),
        ):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), (TriggerResponse(), oddity))

    def test_a_value_as_result_becomes_json(self) -> None:
        for value, text in (({"a": [1]}, '{"a":[1]}'), (1.5, "1.5"), (True, "true"), (None, ""), ("x", "x")):
            with self.subTest(value=value):
                entry = {"task_id": "a", "status": 2, "result": value}
                response, _ = parse_response(json.dumps({"task_results": [entry]}).encode())
                self.assertEqual(usable_result(response.task_results[0]), TaskResult("a", 2, text))

    def test_a_result_that_is_nested_too_deeply_costs_no_other(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        error = self.assertRaises(ValueError, usable_result, TaskResult("a", 2, deep))
        self.assertEqual(str(error), "result is a list, expected a text or a JSON value")

    def test_each_unusable_result_has_a_reason(self) -> None:
        for entry, reason in (
            ("done", "it is 'done', expected a task result with task_id and status"),
            ({"status": 2}, "task_id is missing, expected that of a task, a text"),
            (
                {"task_id": "a", "status": "success"},
                "status is 'success', expected 0 to 4, such as 2 for success and 4 for failure",
            ),
        ):
            with self.subTest(entry=entry):
                response, _ = parse_response(json.dumps({"task_results": [entry]}).encode())
                error = self.assertRaises(ValueError, usable_result, response.task_results[0])
                self.assertEqual(str(error), reason)

    def test_odd_bodies_are_no_results(self) -> None:
        for body, oddity in (
            (b"", "the body is empty"),
            (b" \r\n", "the body is empty"),
            (b"[]", "the body is not a JSON object"),
            (b"null", "the body is not a JSON object"),
            (b'{"task_results": {}}', "task_results is not a list"),
            (b'{"task_results": "x"}', "task_results is not a list"),
        ):
            with self.subTest(body=body):
                self.assertEqual(parse_response(body), (TriggerResponse(), oddity))

    def test_what_is_no_json(self) -> None:
        for body in (b"OK", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}'):
            with self.subTest(body=body[:10]):
                response, oddity = parse_response(body)
                self.assertEqual(response, TriggerResponse())
                self.assertTrue(oddity.startswith("the body is not JSON: "), oddity)

    def test_results_that_can_be_used_and_others(self) -> None:
        for entry, usable in (
            ({"task_id": "a", "status": 2}, True),
            ({"task_id": "a", "status": 2.0}, True),
            ({"task_id": "a", "status": 0, "result": None}, True),
            ({"task_id": "a", "status": 99, "unknown": 1}, True),
            ({"task_id": "", "status": 2}, False),
            ({"task_id": None, "status": 2}, False),
            ({"task_id": 7, "status": 2}, False),
            ({"status": 2}, False),
            ({"task_id": "a"}, False),
            ({"task_id": "a", "status": None}, False),
            ({"task_id": "a", "status": "2"}, False),
            ({"task_id": "a", "status": 2.5}, False),
            ({"task_id": "a", "status": True}, False),
            ("a", False),
            (None, False),
        ):
            with self.subTest(entry=entry):
                response, oddity = parse_response(json.dumps({"task_results": [entry]}).encode())
                (result,) = response.task_results
                self.assertEqual((_is_usable(result), oddity), (usable, ""))

    def test_a_bad_result_does_not_spoil_the_others(self) -> None:
        body = b'{"task_results": [{"status": 2}, {"task_id": "a", "status": 2}]}'
        response, _ = parse_response(body)
        self.assertEqual([_is_usable(result) for result in response.task_results], [False, True])

    @given(strategies.binary())
    def test_any_bytes(self, body: bytes) -> None:
        self.assert_parsed(body)

    @given(
        strategies.recursive(
            strategies.none()
            | strategies.booleans()
            | strategies.integers()
            | strategies.floats(allow_nan=False, allow_infinity=False)
            | strategies.text(),
            lambda inner: (
                strategies.lists(inner, max_size=3)
                | strategies.dictionaries(
                    strategies.sampled_from(["task_results", "task_id", "status", "result"]), inner
                )
            ),
        )
    )
    def test_any_json(self, value: Any) -> None:
        self.assert_parsed(json.dumps(value).encode())
        self.assert_parsed(json.dumps({"task_results": [value]}).encode())

    def assert_parsed(self, body: bytes) -> None:
        response, _ = parse_response(body)
        for result in response.task_results:
            self.assertIsInstance(_is_usable(result), bool)


class TaskResponseTests(SynchronousTestCase):
    def test_what_it_says(self) -> None:
        for body, status, result in (
            (b"", 2, ""),
            (b" \n", 2, ""),
            (b"a text", 2, "a text"),
            (b'"a text"', 2, "a text"),
            (b"\xff", 2, "\ufffd"),
            (b"NaN", 2, "NaN"),
            (b"null", 2, ""),
            (b"[1]", 2, "[1]"),
            (b"{}", 2, ""),
            (b'{"rows": 3}', 2, '{"rows":3}'),
            (b'{"task_id": "a"}', 2, '{"task_id":"a"}'),
            (b'{"status": 200, "rows": 3}', 2, '{"status":200,"rows":3}'),
            (b'{"status": 4, "result": "closed"}', 4, "closed"),
            (b'{"status": 2.0}', 2, ""),
            (b'{"result": {"a": 1}}', 2, '{"a":1}'),
            (b'{"status": 3, "task_id": "a", "result": null}', 3, ""),
        ):
            with self.subTest(body=body):
                self.assertEqual(parse_task_response(body, "a"), TaskResult("a", status, result))

    def test_what_it_can_not_mean(self) -> None:
        for body, words in (
            (b'{"status": "ok"}', "status is 'ok', expected 0 to 4"),
            (b'{"status": null}', "status is missing, expected 0 to 4"),
            (b'{"status": true}', "status is True, expected 0 to 4"),
            (b'{"status": 2, "task_id": "b"}', "its result has task_id 'b', expected 'a'"),
            (b'{"task_results": []}', 'the response has task_results, expected {"status": 2'),
            (b"x" * (LONGEST_RESULT + 1), "its result has 1048577 characters, expected 1048576 at most"),
            (b"x" * (4 * LONGEST_RESULT + 1), "its result has 4194305 bytes, expected 1048576 at most"),
        ):
            with self.subTest(body=body[:40]):
                error = self.assertRaises(WrongResultError, parse_task_response, body, "a")
                self.assertTrue(str(error).startswith(words), error)

    @given(strategies.binary())
    def test_any_bytes(self, body: bytes) -> None:
        with contextlib.suppress(WrongResultError):
            self.assertTrue(parse_task_response(body, "a").is_usable())


class TriggerResponseTests(SynchronousTestCase):
    def test_what_is_no_list_of_results(self) -> None:
        for wrong in (TaskResult("a", 2), None, "text", {"task_id": "a"}, 5):
            with self.subTest(wrong=wrong):
                error = self.assertRaises(TypeError, TriggerResponse, wrong)
                text = f"task_results: found {type(wrong).__name__}; expected a list, such as [TaskResult("
                self.assertTrue(str(error).startswith(text), error)

    def test_any_iterable(self) -> None:
        result = TaskResult("a", 2)
        self.assertEqual(TriggerResponse(iter([result])), TriggerResponse((result,)))
