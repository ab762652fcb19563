"""Tests for scfd.control_plane.verdict."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.generations import decoded
from scfd.control_plane.learning import Exchange
from scfd.control_plane.verdict import Verdict, judge
from tests.properties import given


def judged(generation: int, status: int, body: bytes, trpc_ret: str = "", proven: bool = True) -> Verdict:
    response = ServerResponse(status, body, trpc_ret)
    return judge(Exchange(generation, generation, response, decoded(response), proven))


class Generation1Tests(SynchronousTestCase):
    def assert_judged(self, expected: Verdict, *responses: tuple[int, bytes]) -> None:
        for status, body in responses:
            with self.subTest(status=status, body=body):
                self.assertEqual(judged(1, status, body), expected)

    def test_delivered(self) -> None:
        self.assert_judged(
            Verdict.TAKEN,
            (200, b""),
            (200, b"OK"),
            (200, b"<html>"),
            (200, b"\xff\xfe"),
            (200, b"{}"),
            (200, b'{"code": 200}'),
            (200, b'{"code": 200.0, "message": "x"}'),
            (200, b'{"code": null}'),
            (200, b'{"message": "no code"}'),
            (200, b"[]"),
            (200, b"null"),
            (200, b"404"),
        )

    def test_refused(self) -> None:
        for code in (400, 404, 409, 422):
            self.assert_judged(
                Verdict.REFUSED,
                (code, b""),
                (code, b'{"code": 200}'),
                (200, b'{"code": %d}' % code),
                (200, b'{"code": %d.0, "message": "no such task"}' % code),
            )

    def test_to_be_tried_again(self) -> None:
        self.assert_judged(
            Verdict.RETRY,
            *((status, b'{"code": 200}') for status in (100, 201, 204, 301, 408, 500)),
            *(
                (200, b'{"code": %b}' % code)
                for code in (b"0", b"1", b"401", b"500", b"true", b'"200"', b"[]", b"{}", b"[404]")
            ),
        )

    def test_what_says_nothing_about_the_result(self) -> None:
        self.assert_judged(
            Verdict.UNAVAILABLE, *((status, b'{"code": 200}') for status in (401, 403, 429, 502, 503, 504))
        )

    @given(strategies.sampled_from([200, 400, 500]), strategies.binary())
    def test_any_bytes(self, status: int, body: bytes) -> None:
        self.assertIsInstance(judged(1, status, body), Verdict)

    @given(
        strategies.recursive(
            strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
            lambda inner: (
                strategies.lists(inner, max_size=2)
                | strategies.dictionaries(strategies.sampled_from(["code", "x"]), inner)
            ),
        )
    )
    def test_any_json(self, value: Any) -> None:
        self.assertIsInstance(judged(1, 200, json.dumps(value).encode()), Verdict)


class Generation1And2Tests(SynchronousTestCase):
    def test_a_status_that_the_gateway_wraps_into_a_500(self) -> None:
        for generation in (1, 2):
            for inner, expected in (
                (400, Verdict.REFUSED),
                (404, Verdict.REFUSED),
                (409, Verdict.REFUSED),
                (422, Verdict.REFUSED),
                (408, Verdict.RETRY),
                (429, Verdict.UNAVAILABLE),
                (500, Verdict.RETRY),
            ):
                with self.subTest(generation=generation, inner=inner):
                    body = b'{"code":500,"message":"request failed with status %d"}' % inner
                    self.assertEqual(judged(generation, 500, body), expected)

    def test_a_404_of_generation_2_means_the_path(self) -> None:
        self.assertEqual(judged(2, 404, b"404 page not found"), Verdict.RETRY)
        self.assertEqual(judged(2, 400, b""), Verdict.REFUSED)

    def test_a_404_that_says_that_it_means_the_path(self) -> None:
        """It may be of another server behind the same address."""
        self.assertEqual(judged(1, 404, b"404 page not found\n"), Verdict.RETRY)

    def test_a_404_of_a_server_that_nothing_is_known_of(self) -> None:
        self.assertEqual(judged(1, 404, b"404 page not found", proven=False), Verdict.RETRY)


def info(code: object, text: str = "") -> bytes:
    return json.dumps({"ret_info": {"code": code, "msg": text}}).encode()


class Generation3Tests(SynchronousTestCase):
    def test_business_codes(self) -> None:
        for code, expected in (
            (0, Verdict.TAKEN),
            (0.0, Verdict.TAKEN),
            (1, Verdict.REFUSED),
            (2, Verdict.UNAVAILABLE),
            (3, Verdict.UNAVAILABLE),
            (4, Verdict.RETRY),
            (5, Verdict.REFUSED),
        ):
            with self.subTest(code=code):
                self.assertEqual(judged(3, 200, info(code)), expected)

    def test_an_unknown_field_is_a_mistake_about_the_generation(self) -> None:
        for trpc_ret in ("", "1"):
            with self.subTest(trpc_ret=trpc_ret):
                said = info(1, 'unknown field "id"')
                self.assertEqual(judged(3, 200, said, trpc_ret=trpc_ret), Verdict.RETRY)

    def test_framework_codes(self) -> None:
        for code, trpc_ret, expected in (
            (1, "1", Verdict.REFUSED),
            (12, "12", Verdict.REFUSED),
            (12, "", Verdict.REFUSED),
            (141, "141", Verdict.UNAVAILABLE),
            (141, "", Verdict.UNAVAILABLE),
            (999, "", Verdict.UNAVAILABLE),
            (3, "3", Verdict.UNAVAILABLE),
            (5, "5", Verdict.UNAVAILABLE),
            (21, "", Verdict.UNAVAILABLE),
            (-1, "", Verdict.UNAVAILABLE),
        ):
            with self.subTest(code=code, trpc_ret=trpc_ret):
                self.assertEqual(judged(3, 200, info(code, "x"), trpc_ret), expected)

    def test_only_code_0_is_taken(self) -> None:
        for body in (
            b"",
            b"OK",
            b"{}",
            b'{"code": 200}',
            b'{"ret_info": {}}',
            b'{"ret_info": null}',
            b'{"ret_info": {"code": "0"}}',
            b'{"ret_info": {"code": false}}',
            b'{"ret_info": {"code": 0.5}}',
        ):
            with self.subTest(body=body):
                self.assertEqual(judged(3, 200, body), Verdict.RETRY)

    def test_other_statuses(self) -> None:
        for status, expected in (
            (401, Verdict.UNAVAILABLE),
            (502, Verdict.UNAVAILABLE),
            (400, Verdict.RETRY),
            (404, Verdict.RETRY),
            (500, Verdict.RETRY),
        ):
            with self.subTest(status=status):
                self.assertEqual(judged(3, status, info(0)), expected)
