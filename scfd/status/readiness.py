"""
How the node is doing. There are two notions, and each has one owner.

`Readiness` is about the node: the phase of its life, and what is wrong with any of its parts. Every service
reports to it, operators read it (``GET /ready``), and nothing in the node acts on it. `Availability` is
about the plugin: whether it can take events now. The adapter sets it and the triggers act on it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from scfd.events.wire import rfc3339

#: Entries of ``/ready``. When a plugin fails, each of thousands of triggers has a warning.
MOST_SHOWN = 100


class Phase(Enum):
    """The phases of a node's life, as a probe's response names them."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


_ADVICE = {
    Phase.STARTING: "wait; its log says what it waits for",
    Phase.STOPPING: "nothing: it finishes what is under way, and ends",
}


@frozen
class Problem:
    """
    :ivar component: who has it, such as ``plugin`` or ``nats trigger my-queue``.
    :ivar reason: one line for a person.
    :ivar since: when it began, seconds since the epoch.
    :ivar advice: what an operator can do.
    :ivar severity: ``problem``, or ``warning`` for what does not keep the node from being ready.
    """

    component: str
    reason: str
    since: float
    advice: str
    severity: str = "problem"

    def to_dict(self) -> dict[str, str]:
        return {
            "component": self.component,
            "severity": self.severity,
            "reason": self.reason,
            "since": rfc3339(self.since),
            "advice": self.advice,
        }


class Readiness:
    """
    Collects problems and warnings, at most one for each component; the node is ready without problems.

    :param now: the wall clock, seconds since the epoch.
    :ivar phase: set by `enter`.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.phase = Phase.STARTING
        self._noted: dict[str, Problem] = {}
        self._on_phase: Callable[[Phase], object] = lambda phase: None

    def on_phase(self, call: Callable[[Phase], object]) -> None:
        """:param call: called at each phase that begins. It must not raise."""
        self._on_phase = call

    def enter(self, phase: Phase) -> None:
        """Begin a phase of the node's life. It is not ready in any but `Phase.RUNNING`."""
        self.phase = phase
        if phase is Phase.RUNNING:
            self.well("node")
        else:
            self.problem("node", phase.value, _ADVICE[phase])
        self._on_phase(phase)

    def problem(self, component: str, reason: str, advice: str) -> bool:
        """
        Say what is wrong with a component now. A new reason does not change ``since``.

        :param advice: what an operator can do about it.
        :returns: whether that is news.
        """
        return self._note(component, reason, advice, "problem")

    def warning(self, component: str, reason: str, advice: str) -> bool:
        """The same for what an operator should look at though the node is ready."""
        return self._note(component, reason, advice, "warning")

    def _note(self, component: str, reason: str, advice: str, severity: str) -> bool:
        known = self._noted.get(component)
        same = known is not None and known.severity == severity
        since = known.since if known is not None and same else self._now()
        self._noted[component] = Problem(component, reason, since, advice, severity)
        return not same or known is None or known.reason != reason

    def well(self, component: str) -> None:
        """Say that nothing is wrong with a component, or no longer."""
        self._noted.pop(component, None)

    def problems(self) -> list[Problem]:
        """The longest-standing first; empty when the node is ready."""
        problems = (noted for noted in self._noted.values() if noted.severity == "problem")
        return sorted(problems, key=lambda problem: problem.since)

    def count(self, severity: str) -> int:
        """How many there are of ``problem`` or ``warning``."""
        return sum(noted.severity == severity for noted in self._noted.values())

    def report(self) -> tuple[list[dict[str, str]], int]:
        """Problems and warnings as JSON values, and the HTTP status that says whether the node is ready."""
        return [problem.to_dict() for problem in self.all()], 503 if self.problems() else 200

    def startup(self) -> tuple[dict[str, str], int]:
        """The phase as a JSON value, and the HTTP status that says whether the node has started."""
        return {"status": self.phase.value}, 503 if self.phase is Phase.STARTING else 200

    def all(self) -> list[Problem]:
        """
        Problems and warnings, the longest-standing first; of more than `MOST_SHOWN` warnings rather than
        problems are left out, and the last entry says how many.
        """
        noted = sorted(self._noted.values(), key=lambda one: (one.severity != "problem", one.since))
        shown = sorted(noted[:MOST_SHOWN], key=lambda one: one.since)
        if left_out := noted[MOST_SHOWN:]:
            reason = f"{len(left_out)} more, such as {left_out[0].component}: {left_out[0].reason}"
            since = min(one.since for one in left_out)
            shown.append(Problem("others", reason, since, left_out[0].advice, left_out[0].severity))
        return shown


class Availability:
    """
    Whether the plugin can take events. While it can't, timers treat what falls due as missed and NATS
    triggers fetch nothing.

    :ivar available: set by the adapter.
    """

    def __init__(self, available: bool = False) -> None:
        self.available = available
        self._watchers: list[Callable[[bool], object]] = []

    def set(self, available: bool) -> None:
        """Set it, and tell those who watch if that is a change."""
        if available != self.available:
            self.available = available
            for watcher in self._watchers:
                watcher(available)

    def watch(self, watcher: Callable[[bool], object]) -> None:
        """Have ``watcher`` called at each change, with the new value. It must not raise."""
        self._watchers.append(watcher)
