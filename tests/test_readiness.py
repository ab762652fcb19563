"""Tests for scfd.status.readiness."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from scfd.status.readiness import MOST_SHOWN, Availability, Phase, Readiness


class ReadinessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_735_689_600)
        self.readiness = Readiness(self.clock.seconds)

    def told(self) -> list[dict[str, str]]:
        keys = ("component", "reason", "since")
        return [{key: problem.to_dict()[key] for key in keys} for problem in self.readiness.problems()]

    def test_ready_while_there_are_no_problems(self) -> None:
        self.assertEqual(self.told(), [])

    def test_a_problem_has_its_beginning(self) -> None:
        self.readiness.problem("plugin", "not ready yet", "look")
        self.clock.advance(60)
        self.assertEqual(
            self.told(),
            [{"component": "plugin", "reason": "not ready yet", "since": "2025-01-01T00:00:00Z"}],
        )

    def test_a_new_reason_does_not_change_the_beginning(self) -> None:
        self.readiness.problem("heartbeat", "timed out", "look")
        self.clock.advance(9)
        self.readiness.problem("heartbeat", "HTTP status 502", "look")
        self.assertEqual(
            self.told(),
            [{"component": "heartbeat", "reason": "HTTP status 502", "since": "2025-01-01T00:00:00Z"}],
        )

    def test_a_problem_that_comes_back_begins_anew(self) -> None:
        self.readiness.problem("heartbeat", "timed out", "look")
        self.readiness.well("heartbeat")
        self.assertEqual(self.told(), [])
        self.clock.advance(9)
        self.readiness.problem("heartbeat", "timed out", "look")
        self.assertEqual(self.told()[0]["since"], "2025-01-01T00:00:09Z")

    def test_the_longest_standing_first(self) -> None:
        for component in ("b", "a", "c"):
            self.readiness.problem(component, "ill", "look")
            self.clock.advance(1)
        self.readiness.problem("b", "still ill", "look")
        self.assertEqual([problem.component for problem in self.readiness.problems()], ["b", "a", "c"])

    def test_warnings_are_no_problems(self) -> None:
        self.readiness.enter(Phase.RUNNING)
        self.readiness.warning("trigger t", "paused by an operator", "scfd resume t")
        self.assertEqual(self.told(), [])
        self.assertEqual(
            [one.to_dict() for one in self.readiness.all()],
            [
                {
                    "component": "trigger t",
                    "severity": "warning",
                    "reason": "paused by an operator",
                    "since": "2025-01-01T00:00:00Z",
                    "advice": "scfd resume t",
                }
            ],
        )

    def test_of_very_many_no_problem_is_left_out(self) -> None:
        self.readiness.enter(Phase.RUNNING)
        for number in range(10_000):
            self.readiness.warning(f"trigger t{number}", "all fail", "look at its events")
            self.clock.advance(1)
        self.readiness.problem("plugin", "refused", "start it")
        listed, status = self.readiness.report()
        self.assertEqual((len(listed), status), (MOST_SHOWN + 1, 503))
        self.assertEqual(listed[-2]["component"], "plugin")
        self.assertEqual(
            listed[-1],
            {
                "component": "others",
                "severity": "warning",
                "reason": "9901 more, such as trigger t99: all fail",
                "since": "2025-01-01T00:01:39Z",
                "advice": "look at its events",
            },
        )

    def test_a_warning_that_becomes_a_problem_begins_anew(self) -> None:
        self.readiness.warning("outbox", "nearly full", "look")
        self.clock.advance(5)
        self.readiness.problem("outbox", "full", "look")
        self.assertEqual(self.told()[-1]["since"], "2025-01-01T00:00:05Z")

    def test_well_of_an_unknown_component(self) -> None:
        self.readiness.well("nobody")
        self.assertEqual(self.told(), [])

    def test_the_phase_is_a_problem_until_the_node_runs(self) -> None:
        self.assertEqual(self.readiness.phase, Phase.STARTING)
        for phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING):
            self.readiness.enter(phase)
            expected = [] if phase is Phase.RUNNING else [("node", phase.value)]
            told = [(problem.component, problem.reason) for problem in self.readiness.problems()]
            self.assertEqual((self.readiness.phase, told), (phase, expected))


class AvailabilityTests(SynchronousTestCase):
    def test_not_available_until_somebody_says_so(self) -> None:
        self.assertFalse(Availability().available)

    def test_every_watcher_hears_of_each_change_and_only_of_changes(self) -> None:
        availability = Availability()
        heard: list[tuple[str, bool]] = []
        availability.watch(lambda value: heard.append(("first", value)))
        availability.watch(lambda value: heard.append(("second", value)))
        for value in (False, True, True, False):
            availability.set(value)
        self.assertEqual(heard, [("first", True), ("second", True), ("first", False), ("second", False)])
        self.assertFalse(availability.available)
