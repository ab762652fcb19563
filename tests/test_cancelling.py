"""Giving up on code that does not heed being cancelled."""

from __future__ import annotations

import contextlib

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from scfd.deferreds import detached


class DetachedTests(SynchronousTestCase):
    def test_a_result_passes(self) -> None:
        self.assertEqual(self.successResultOf(detached(succeed(1))), 1)
        self.failureResultOf(detached(fail(ValueError())), ValueError)

    def test_cancelling_reaches_the_code_behind(self) -> None:
        inner: Deferred[None] = Deferred()
        outer = detached(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        self.assertTrue(inner.called)

    def test_code_may_answer_to_it(self) -> None:
        inner: Deferred[int] = Deferred(lambda inner: inner.callback(1))
        outer = detached(inner)
        outer.cancel()
        self.assertEqual(self.successResultOf(outer), 1)

    def test_code_that_swallows_it(self) -> None:
        again: Deferred[int] = Deferred()

        async def stubborn() -> int:
            with contextlib.suppress(Exception):
                await Deferred()
            return await again

        outer = detached(Deferred.fromCoroutine(stubborn()))
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        again.callback(1)

    def test_a_late_failure_is_dropped(self) -> None:
        inner: Deferred[None] = Deferred(lambda _: None)
        inner.cancel = lambda: None  # type: ignore[method-assign]  # as if it had no end
        outer = detached(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        inner.errback(ValueError())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_canceller_that_raises(self) -> None:
        def canceller(_: Deferred[None]) -> None:
            raise ZeroDivisionError

        outer: Deferred[None] = detached(Deferred(canceller))
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
