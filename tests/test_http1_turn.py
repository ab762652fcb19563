"""Small writes, put off to the end of a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from scfd.http1.turn import LARGE, TOO_LARGE_TO_COPY, Turn


class Transport:
    def __init__(self, name: str, journal: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.journal = journal
        self.closing = False

    def write(self, data: bytes) -> None:
        self.journal.append((self.name, data))

    def is_closing(self) -> bool:
        return self.closing


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.journal: list[tuple[str, bytes]] = []
        self.turn = Turn(self.soon.append)
        self.a, self.b = self.transport("a"), self.transport("b")

    def transport(self, name: str) -> asyncio.WriteTransport:
        return cast(asyncio.WriteTransport, Transport(name, self.journal))

    def end(self) -> list[tuple[str, bytes]]:
        """The turn is over; returns what has been written in it."""
        soon, self.soon[:] = self.soon[:], []
        for function in soon:
            function()
        written, self.journal[:] = self.journal[:], []
        return written

    def test_small_writes_are_done_together_at_the_end(self) -> None:
        self.turn.write(self.a, b"1")
        self.turn.write(self.b, b"2")
        self.turn.write(self.a, b"3")
        self.assertEqual((self.journal, len(self.soon)), ([], 1))
        self.assertEqual(self.end(), [("a", b"13"), ("b", b"2")])
        self.assertEqual(self.end(), [])

    def test_each_turn_has_its_own(self) -> None:
        for data in (b"1", b"2"):
            self.turn.write(self.a, data)
            self.assertEqual(self.end(), [("a", data)])

    def test_one_that_is_too_large_to_copy_goes_on_its_own(self) -> None:
        large = b"x" * TOO_LARGE_TO_COPY
        for data in (b"1", b"2", large):
            self.turn.write(self.a, data)
        self.assertEqual(self.journal, [("a", b"12"), ("a", large)])
        self.assertIs(self.journal[1][1], large)

    def test_a_large_one_goes_at_once_and_after_what_waits(self) -> None:
        large = b"x" * LARGE
        self.turn.write(self.a, b"1")
        self.turn.write(self.b, b"2")
        self.turn.write(self.a, large)
        self.assertEqual(self.journal, [("a", b"1" + large)])
        self.turn.write(self.a, b"3")
        self.assertEqual(self.end()[1:], [("b", b"2"), ("a", b"3")])

    def test_flush(self) -> None:
        self.turn.write(self.a, b"1")
        self.assertEqual((self.turn.holds(self.a), self.turn.holds(self.b)), (True, False))
        self.turn.flush(self.a)
        self.turn.flush(self.b)
        self.assertFalse(self.turn.holds(self.a))
        self.assertEqual(self.end(), [("a", b"1")])

    def test_forget(self) -> None:
        self.turn.write(self.a, b"1")
        self.turn.forget(self.a)
        self.assertEqual(self.end(), [])

    def test_closed_in_the_meantime(self) -> None:
        self.turn.write(self.a, b"1")
        transport: Any = self.a
        transport.closing = True
        self.assertEqual(self.end(), [])

    def test_after_a_flush_the_turn_goes_on(self) -> None:
        self.turn.write(self.a, b"1")
        self.turn.flush(self.a)
        self.turn.write(self.b, b"2")
        self.assertEqual(self.end(), [("a", b"1"), ("b", b"2")])
