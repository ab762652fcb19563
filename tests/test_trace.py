"""Tests for scfd.events.trace."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from scfd.events.trace import trace_id, traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-00"


class TraceparentTests(SynchronousTestCase):
    def test_a_new_trace(self) -> None:
        first, second = traceparent({}), traceparent({})
        self.assertRegex(first, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
        self.assertNotEqual(trace_id(first), trace_id(second))

    def test_a_message_is_continued_in_a_span_of_its_own(self) -> None:
        for name in ("header.traceparent", "header.Traceparent"):
            made = traceparent({name: GIVEN})
            self.assertEqual((trace_id(made), made[-2:]), (TRACE, "00"))
            self.assertNotEqual(made, GIVEN)
            self.assertRegex(made, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-00$")

    def test_what_is_not_valid_begins_a_trace(self) -> None:
        for given in (
            "",
            GIVEN.upper(),
            f"ff{GIVEN[2:]}",
            f"{GIVEN}-more",
            f"{GIVEN}\n",
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-{TRACE}-{'0' * 16}-01",
        ):
            with self.subTest(given=given):
                made = traceparent({"header.traceparent": given})
                self.assertRegex(made, r"^00-[0-9a-f]{32}-[0-9a-f]{16}-01$")
                self.assertNotEqual(trace_id(made), TRACE)
