"""A short run of the fuzzer; a long one is `python -m tests.gateway_fuzz`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.gateway_fuzz import fuzz, left_over


class FuzzTests(SynchronousTestCase):
    def test_nothing_breaks_and_nothing_is_left(self) -> None:
        before = left_over()
        self.assertEqual(sum(1 for _ in fuzz(5_000, seed=1)), 5_000)
        self.assertEqual(left_over(), before)
