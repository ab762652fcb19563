"""Tests for scfd.status.history."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from scfd.errors import PluginError, PluginUnavailableError
from scfd.events.event import TaskResult, TriggerEvent
from scfd.status import history
from scfd.status.history import History, RunningEvent
from scfd.status.readiness import Phase, Readiness

START = 1_800_000_000.0


def event(name: str = "t", span: int = 1, payload: object = None, **metadata: str) -> TriggerEvent:
    """A timer's event; a message's, where it has a payload."""
    traceparent = f"00-{1:032x}-{span:016x}-01"
    kind = "timer" if payload is None else "nats"
    return TriggerEvent(kind, name, payload, {"traceparent": traceparent, **metadata})


class HistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.readiness = Readiness(self.clock.seconds)
        self.readiness.enter(Phase.RUNNING)
        self.history = History(self.clock.seconds, self.readiness, most=5, failing_after=3)

    def warnings(self) -> list[str]:
        return [one.component for one in self.readiness.all()]

    def test_a_success(self) -> None:
        self.history.ended(event(span=0xAB, fire_time="2027-01-15T07:59:58.500Z"), 1.0)
        (past,) = self.history.last()
        self.assertEqual(
            past.summary(),
            {
                "id": "00000000000000ab",
                "number": 1,
                "trigger": "t",
                "type": "timer",
                "at": "2027-01-15T07:59:59Z",
                "lateness": 0.5,
                "seconds": 1.0,
                "outcome": "succeeded",
                "error": "",
                "results": 0,
                "statuses": {},
                "delivery": 0,
            },
        )

    def test_outcomes(self) -> None:
        for error, outcome in (
            (PluginError("HTTP status 500"), "failed"),
            (PluginUnavailableError("refused"), "not sent"),
            (CancelledError(), "cancelled"),
            (KeyError("x"), "failed"),
        ):
            self.history.ended(event(), 0.1, Failure(error))
            self.assertEqual(self.history.last()[0].outcome, outcome)

    def test_very_many_triggers_keep_less_of_each(self) -> None:
        long = {"header.x": "y" * 50_000}
        for number in range(2_000):
            self.history.ended(
                event(f"t{number}", number, "m" * 60_000, **long), 0.1, Failure(PluginError("x"))
            )
        for number in range(2_000):
            self.history.ended(event(f"t{number}", 1, "m"), 0.1)
        kept = self.history.last()
        self.assertEqual(len(kept), 4_000)
        self.assertLess(sum(past.size for past in kept), history.MOST_BYTES)
        self.assertIs(self.history.find(f"{1999:016x}"), kept[2_000])
        self.assertEqual(
            (kept[-1].error, kept[-1].payload, kept[-1].payload_size), ("PluginError: x", None, 0)
        )

    def test_the_newest_of_several_triggers(self) -> None:
        for number, name in enumerate("abcab"):
            failure = Failure(PluginError("x")) if number == 2 else None
            self.history.ended(event(name, number), 0.1, failure)
        self.assertEqual([past.trigger for past in self.history.last(limit=1)], ["b"])
        self.assertEqual([past.number for past in self.history.last(limit=3)], [5, 4, 3])
        self.assertEqual([past.number for past in self.history.last(failed=True, limit=1)], [3])
        self.assertEqual([past.number for past in self.history.last(after=3)], [5, 4])

    def test_a_page_of_it(self) -> None:
        for number in range(4):
            self.history.ended(event("ab"[number % 2], number), 0.1)
        self.assertEqual([past.number for past in self.history.last(limit=2)], [4, 3])
        self.assertEqual([past.number for past in self.history.last(after=2)], [4, 3])
        self.assertEqual([past.number for past in self.history.last("a", after=1)], [3])

    def test_a_fault_of_the_plugin_has_its_traceback_and_what_one_line_says_has_none(self) -> None:
        def failing() -> None:
            raise KeyError("price")

        try:
            failing()
        except KeyError:
            self.history.ended(event(), 0.1, Failure())
        self.history.ended(event(), 0.1, Failure(PluginError("HTTP status 500")))
        said, fault = self.history.last()
        self.assertEqual((said.error, said.traceback), ("PluginError: HTTP status 500", ""))
        self.assertEqual(fault.error, "KeyError: 'price'")
        self.assertIn("in failing", fault.traceback)

    def test_results_that_failed_come_first(self) -> None:
        results = [TaskResult(f"t{n}", 4 if n == 199 else 2, "x" * 9_000) for n in range(200)]
        self.history.ended(event(), 0.1, None, results)
        (past,) = self.history.last()
        self.assertEqual((past.outcome, past.result_count), ("tasks failed", 200))
        self.assertEqual(past.statuses, {2: 199, 4: 1})
        self.assertEqual(len(past.results), history.MOST_RESULTS)
        self.assertEqual((past.results[0][0], len(past.results[0][2])), ("t199", 500))

    def test_many_successes_leave_the_failures_alone(self) -> None:
        self.history.ended(event(span=7), 0.1, Failure(PluginError("no")))
        for _ in range(100):
            self.clock.advance(1)
            self.history.ended(event(), 0.1)
        self.assertEqual(len(self.history.last()), 6)
        self.assertEqual([past.id for past in self.history.last(failed=True)], [f"{7:016x}"])

    def test_a_sample_of_many_successes_in_a_second(self) -> None:
        kept = History(self.clock.seconds, self.readiness, most=1000)
        for _ in range(3):
            for _ in range(500):
                kept.ended(event(), 0.0)
            self.clock.advance(1)
        self.assertEqual(len(kept.last()), 3 * history.SUCCESSES_A_SECOND)

    def test_the_clock_set_back_stops_no_sampling(self) -> None:
        kept = History(self.clock.seconds, self.readiness, most=1000)
        kept.ended(event(), 0.0)
        self.clock.rightNow -= 3600
        for _ in range(500):
            kept.ended(event(), 0.0)
        self.assertEqual(len(kept.last()), 1 + history.SUCCESSES_A_SECOND)

    def test_bounded_in_bytes(self) -> None:
        kept = History(self.clock.seconds, self.readiness, most=100_000)
        for number in range(200):
            kept.ended(event(payload="m" * 60_000, number=str(number)), 0.1, Failure(PluginError("no")))
        self.assertLessEqual(sum(past.size for past in kept.last()), history.MOST_BYTES_OF_TRIGGER / 2)
        self.assertEqual(kept.last()[0].metadata["number"], "199")

    def test_found_by_id_as_long_as_it_is_kept(self) -> None:
        self.history.ended(event(span=1), 0.1, Failure(PluginUnavailableError("refused")))
        self.history.ended(event(span=1), 0.1)
        id = f"{1:016x}"

        def found() -> str | None:
            past = self.history.find(id)
            assert not isinstance(past, RunningEvent)
            return past.outcome if past is not None else None

        self.assertEqual(found(), "succeeded")
        for number in range(5):
            self.clock.advance(1)
            self.history.ended(event(span=10 + number), 0.1)
        self.assertEqual(found(), "not sent")
        for number in range(5):
            self.history.ended(event(span=20 + number), 0.1, Failure(PluginError("x")))
        self.assertIsNone(found())
        for past in self.history.last():
            self.assertIs(self.history.find(past.id), past)

    def test_a_long_message_is_not_kept(self) -> None:
        self.history.ended(event(payload="m" * 70_000), 0.1)
        self.history.ended(event(payload={"a": 1}), 0.1)
        self.assertEqual([past.payload for past in self.history.last()], [{"a": 1}, None])

    def test_none_are_kept_where_nobody_wants_them(self) -> None:
        kept = History(self.clock.seconds, self.readiness, most=0)
        kept.ended(event(), 0.1, Failure(PluginError("no")))
        self.assertEqual(kept.last(), [])

    def test_of_one_trigger(self) -> None:
        self.history.ended(event("a"), 0.1)
        self.history.ended(event("b"), 0.1)
        self.assertEqual([past.trigger for past in self.history.last("b")], ["b"])
        self.assertEqual(self.history.last("c"), [])

    def test_running(self) -> None:
        one = event(span=3)
        self.history.begun(one, 0.0, Deferred())
        (running,) = self.history.running()
        self.assertIs(self.history.find(f"{3:016x}"), running)
        self.assertIsInstance(running, RunningEvent)
        self.history.ended(one, 0.1)
        self.assertEqual(self.history.running(), [])
        self.assertIs(self.history.find(f"{3:016x}"), self.history.last()[0])
        self.assertIsNone(self.history.find("no such"))

    def test_one_that_is_followed_is_kept_among_thousands(self) -> None:
        for _ in range(100):
            self.history.ended(event(), 0.0)
        one = event(span=9)
        followed = self.history.follow(one)
        self.history.ended(event(), 0.0)
        self.assertNoResult(followed)
        self.history.ended(one, 0.0)
        self.assertEqual(self.successResultOf(followed).id, f"{9:016x}")

    def test_watchers(self) -> None:
        seen: list[str] = []
        end = self.history.watch(lambda past: seen.append(past.id))
        self.history.ended(event(span=1), 0.1)
        end()
        self.history.ended(event(span=2), 0.1)
        self.assertEqual(seen, [f"{1:016x}"])

    def test_a_trigger_whose_last_events_all_failed_is_a_warning(self) -> None:
        for _ in range(2):
            self.history.ended(event(), 0.1, Failure(PluginError("no")))
        self.assertEqual(self.warnings(), [])
        self.history.ended(event(), 0.1, None, [TaskResult("a", 4, "no"), TaskResult("b", 3, "partly")])
        self.assertEqual(self.warnings(), ["trigger t"])
        self.assertEqual(self.readiness.problems(), [])
        for neither in (PluginUnavailableError("away"), CancelledError()):
            self.history.ended(event(), 0.1, Failure(neither))
        self.assertEqual(self.warnings(), ["trigger t"])
        self.history.ended(event(), 0.1, None, [TaskResult("a", 4, "no"), TaskResult("b", 2)])
        self.assertEqual(self.warnings(), [])

    def test_a_success_in_between_begins_the_count_anew(self) -> None:
        for error in (PluginError("1"), PluginError("2"), None, PluginError("3"), PluginError("4")):
            self.history.ended(event(), 0.1, None if error is None else Failure(error))
        self.assertEqual(self.warnings(), [])
