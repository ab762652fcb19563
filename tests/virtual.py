"""Tests that are coroutines, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from scfd.deferreds import from_coroutine
from scfd.testing.clock import VirtualLoop, VirtualReactor


class VirtualTestCase(SynchronousTestCase):
    """
    :ivar reactor: the clock, and what else a node asks of a reactor.
    """

    def setUp(self) -> None:
        self.loop = VirtualLoop()
        self.reactor = VirtualReactor(self.loop)
        self.addCleanup(self.loop.finish)
        self.addCleanup(self.reactor.close)

    def in_loop(self, function: Callable[[], Deferred[Any]], seconds: float = 60.0) -> Any:
        """Call a function, and let time pass until its Deferred has fired. :returns: its result."""
        outcome: list[Any] = []
        self.loop.call_soon(lambda: function().addBoth(outcome.append))
        self.loop.run_until(self.loop.time() + seconds, lambda: bool(outcome))
        assert outcome, f"nothing after {seconds:g} s of virtual time"
        return outcome[0]

    def run_body(self, body: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that may await asyncio and Deferreds."""
        result = self.in_loop(lambda: from_coroutine(body))
        if result is not None:
            result.raiseException()
