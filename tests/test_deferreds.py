"""Tests for scfd.deferreds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from scfd.deferreds import InFlight, TimeLimits, detached, from_asyncio, from_coroutine, to_asyncio
from tests.properties import given


class BridgeTestCase(TestCase):
    timeout = 10

    async def setUp(self) -> None:  # type: ignore[override]
        """Trial begins a test outside the loop, the node does its work inside."""
        from twisted.internet import reactor

        await deferLater(reactor, 0)


class FromAsyncioTests(BridgeTestCase):
    async def test_value(self) -> None:
        async def work() -> str:
            await asyncio.sleep(0)
            return "done"

        self.assertEqual(await from_asyncio(work()), "done")

    async def test_failure(self) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise KeyError("broken")

        with self.assertRaises(KeyError):
            await from_asyncio(work())

    async def test_cancelling_reaches_the_coroutine(self) -> None:
        interrupted: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                interrupted.callback(None)
                raise

        deferred = from_asyncio(work())
        await from_asyncio(asyncio.sleep(0))
        deferred.cancel()
        await interrupted
        try:
            await deferred
        except CancelledError:
            return
        self.fail("it was not cancelled")


def _later(value: object) -> Deferred[object]:
    """A Deferred that fires in a moment."""
    from twisted.internet import reactor

    return deferLater(reactor, 0.001, lambda: value)


class FromCoroutineTests(BridgeTestCase):
    async def test_a_coroutine_or_deferred_that_it_returns(self) -> None:
        """``return work()`` where ``return await work()`` was meant; cancelling reaches that, too."""

        async def inner() -> object:
            await asyncio.sleep(0)
            return _later("value")

        async def outer() -> object:
            return inner()

        self.assertEqual(await from_coroutine(outer()), "value")
        cancelled: list[object] = []
        never: Deferred[None] = Deferred(cancelled.append)

        async def returns_it() -> object:
            return never

        deferred = from_coroutine(returns_it())
        await _later(None)
        deferred.cancel()
        await self.assertFailure(deferred, CancelledError, asyncio.CancelledError)
        await _later(None)
        self.assertEqual(cancelled, [never])

    async def test_awaits_both(self) -> None:
        async def work() -> list[object]:
            assert asyncio.current_task() is not None
            await asyncio.sleep(0.001)
            async with asyncio.Lock():
                got = [await _later(1), await succeed(2), await asyncio.wait_for(asyncio.sleep(0, 3), 5)]
            with self.assertRaises(KeyError):
                await fail(KeyError("at once"))
            return got

        self.assertEqual(await from_coroutine(work()), [1, 2, 3])

    async def test_so_do_the_tasks_that_it_makes(self) -> None:
        async def work() -> list[object]:
            async def one(value: int) -> object:
                await asyncio.sleep(0)
                return await _later(value)

            return [*await asyncio.gather(one(1), one(2), asyncio.create_task(one(3)))]

        self.assertEqual(await from_coroutine(work()), [1, 2, 3])

    async def test_the_result_of_a_deferred_stays(self) -> None:
        shared = _later("value")

        async def work() -> object:
            return await shared

        self.assertEqual([await from_coroutine(work()), await from_coroutine(work())], ["value", "value"])

    async def test_failures_arrive_where_they_are_awaited(self) -> None:
        failing: Deferred[None] = Deferred()

        async def work() -> str:
            from twisted.internet import reactor

            reactor.callLater(0.001, failing.errback, KeyError("later"))
            try:
                await failing
            except KeyError:
                await asyncio.sleep(0)
                raise ValueError("mine") from None
            return "not reached"

        with self.assertRaisesRegex(ValueError, "mine"):
            await from_coroutine(work())

    async def test_cancelling_reaches_what_is_awaited(self) -> None:
        cancelled: list[object] = []
        waits: tuple[Callable[[], Any], ...] = (lambda: Deferred(cancelled.append), lambda: asyncio.sleep(60))
        for wait in waits:
            seen: list[str] = []

            async def work(wait: Callable[[], Any] = wait, seen: list[str] = seen) -> None:
                try:
                    await wait()
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise

            deferred = from_coroutine(work())
            await _later(None)
            deferred.cancel()
            self.failureResultOf(deferred, CancelledError)
            await _later(None)
            self.assertEqual((seen, len(cancelled)), (["cancelled"], 1))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_time_limit_of_asyncio_ends_a_deferred(self) -> None:
        cancelled: list[object] = []

        async def wait() -> None:
            await Deferred(cancelled.append)

        async def work() -> str:
            try:
                await asyncio.wait_for(wait(), 0.001)
            except asyncio.TimeoutError:
                return "over"
            return "not reached"

        self.assertEqual(await from_coroutine(work()), "over")
        self.assertEqual(len(cancelled), 1)

    async def test_a_deferred_that_somebody_else_cancels(self) -> None:
        shared: Deferred[None] = Deferred()

        async def work() -> str:
            try:
                await shared
            except CancelledError:
                return "it was cancelled"
            return "not reached"

        deferred = from_coroutine(work())
        await _later(None)
        shared.cancel()
        self.assertEqual(await deferred, "it was cancelled")

    async def test_what_would_end_the_loop_is_a_failure(self) -> None:
        for fault in (SystemExit(3), KeyboardInterrupt()):

            async def work(fault: BaseException = fault) -> None:
                await asyncio.sleep(0)
                raise fault

            with self.assertRaisesRegex(RuntimeError, f"the coroutine raised {type(fault).__name__}"):
                await from_coroutine(work())

    async def test_a_failure_after_it_was_cancelled_is_logged(self) -> None:
        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise ZeroDivisionError

        deferred = from_coroutine(work())
        await _later(None)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        errors = []
        for _ in range(20):  # turns of the loop, of which asyncio takes two or three
            await _later(None)
            errors += self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(errors), 1)


class ToAsyncioTests(BridgeTestCase):
    async def test_value(self) -> None:
        async def work() -> int:
            return await to_asyncio(succeed(6)) * 7

        self.assertEqual(await from_asyncio(work()), 42)

    async def test_a_value_that_comes_later(self) -> None:
        later: Deferred[str] = Deferred()

        async def work() -> str:
            return await to_asyncio(later)

        deferred = from_asyncio(work())
        await from_asyncio(asyncio.sleep(0))
        self.assertNoResult(deferred)
        later.callback("at last")
        self.assertEqual(await deferred, "at last")

    async def test_failure(self) -> None:
        async def work() -> None:
            with self.assertRaises(KeyError):
                await to_asyncio(fail(KeyError("broken")))

        await from_asyncio(work())

    async def test_cancelling_reaches_the_deferred(self) -> None:
        cancelled: list[Deferred[None]] = []
        under_way: Deferred[None] = Deferred(cancelled.append)

        async def work() -> None:
            await to_asyncio(under_way)

        deferred = from_asyncio(work())
        await from_asyncio(asyncio.sleep(0))
        deferred.addErrback(lambda failure: None).cancel()
        await deferred
        await from_asyncio(asyncio.sleep(0))
        self.assertEqual(cancelled, [under_way])


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


class InFlightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.in_flight = InFlight()

    def test_nothing_is_under_way_at_first(self) -> None:
        self.assertEqual(len(self.in_flight), 0)
        self.successResultOf(self.in_flight.drained())

    def test_counts_what_has_not_fired(self) -> None:
        first: Deferred[int] = Deferred()
        self.in_flight.add(first)
        self.in_flight.add(Deferred())
        self.assertEqual(len(self.in_flight), 2)
        first.callback(1)
        self.assertEqual(len(self.in_flight), 1)

    def test_one_that_has_fired_already_does_not_count(self) -> None:
        self.assertEqual(self.successResultOf(self.in_flight.add(succeed(7))), 7)
        self.assertEqual(len(self.in_flight), 0)

    def test_results_and_failures_pass_through(self) -> None:
        self.assertEqual(self.successResultOf(self.in_flight.add(succeed("result"))), "result")
        self.failureResultOf(self.in_flight.add(fail(KeyError())), KeyError)
        self.assertEqual(len(self.in_flight), 0)

    def test_drained_waits_for_the_last_one(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()
        self.in_flight.add(first)
        self.in_flight.add(second).addErrback(lambda failure: None)
        waiting = [self.in_flight.drained(), self.in_flight.drained()]
        first.callback(None)
        for deferred in waiting:
            self.assertNoResult(deferred)
        second.errback(KeyError())
        for deferred in waiting:
            self.assertIsNone(self.successResultOf(deferred))

    def test_who_stops_waiting_does_not_disturb_the_work(self) -> None:
        work: Deferred[None] = Deferred()
        self.in_flight.add(work)
        patient, impatient = self.in_flight.drained(), self.in_flight.drained()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        work.callback(None)
        self.successResultOf(patient)

    def test_can_be_used_again_once_drained(self) -> None:
        self.in_flight.add(succeed(None))
        work: Deferred[None] = Deferred()
        self.in_flight.add(work)
        drained = self.in_flight.drained()
        self.assertNoResult(drained)
        work.callback(None)
        self.successResultOf(drained)


class TimeLimitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limits = TimeLimits(self.clock)
        self.over: list[tuple[int, float]] = []

    def note(self, number: int) -> Callable[[], None]:
        return lambda: self.over.append((number, round(self.clock.seconds(), 3)))

    def test_each_at_its_time(self) -> None:
        for number, seconds in enumerate((3.0, 1.0, 2.0)):
            self.limits.start(seconds, self.note(number))
        self.clock.pump([0.5] * 8)
        self.assertEqual(self.over, [(1, 1.0), (2, 2.0), (0, 3.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer_for_all(self) -> None:
        for _ in range(100):
            self.limits.start(30.0, self.note(0))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stopped(self) -> None:
        first, second = self.note(1), self.note(2)
        self.limits.start(1.0, first)
        self.limits.start(2.0, second)
        self.limits.stop(first)
        self.clock.advance(1.5)
        self.assertEqual(self.over, [])
        self.limits.stop(second)
        self.limits.stop(second)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_stops_and_starts_others(self) -> None:
        other = self.note(1)

        def over() -> None:
            self.limits.stop(other)
            self.limits.start(1.0, self.note(2))

        self.limits.start(1.0, over)
        self.limits.start(1.0, other)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.over, [(2, 2.0)])

    @given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=20))
    def test_any_of_them(self, wanted: list[tuple[int, int]]) -> None:
        """Each (time limit, when it is stopped): called exactly when it was not stopped before."""
        self.setUp()
        calls = [self.note(number) for number in range(len(wanted))]
        for (seconds, _), call in zip(wanted, calls, strict=True):
            self.limits.start(seconds, call)
        for now in range(51):
            for (seconds, stopped), call in zip(wanted, calls, strict=True):
                if stopped == now < seconds:
                    self.limits.stop(call)
            self.clock.advance(1)
        expected = {(n, float(seconds)) for n, (seconds, stopped) in enumerate(wanted) if stopped >= seconds}
        self.assertEqual(set(self.over), expected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
