"""Tests for scfd.deferreds, on the real loop."""

from __future__ import annotations

import asyncio

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from scfd.deferreds import from_asyncio, to_asyncio


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
        except (CancelledError, asyncio.CancelledError):
            return
        self.fail("it was not cancelled")


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
