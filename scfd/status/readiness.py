"""What is not well in this node, and since when: the answer to ``GET /ready``."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from scfd.events.wire import rfc3339


@frozen
class Problem:
    """
    :ivar component: who has it, such as ``plugin`` or ``nats trigger my-queue``.
    :ivar reason: one line for a person.
    :ivar since: when it began, seconds since the epoch.
    """

    component: str
    reason: str
    since: float

    def to_dict(self) -> dict[str, str]:
        return {"component": self.component, "reason": self.reason, "since": rfc3339(self.since)}


class Readiness:
    """
    Collects problems, at most one a component; the node is ready while there are none.

    :param now: the wall clock, seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._problems: dict[str, Problem] = {}

    def problem(self, component: str, reason: str) -> None:
        """Say what is wrong now. ``since`` stays that of the first word about this component."""
        known = self._problems.get(component)
        self._problems[component] = Problem(component, reason, known.since if known else self._now())

    def well(self, component: str) -> None:
        """Say that nothing is wrong with a component (any more)."""
        self._problems.pop(component, None)

    def problems(self) -> list[Problem]:
        """The longest-standing first; empty when the node is ready."""
        return sorted(self._problems.values(), key=lambda problem: problem.since)


class Availability:
    """
    Set by the adapter, heeded by the triggers: while the plugin is not ready or its process is being
    started again, timers keep their fires for later and NATS triggers fetch nothing.

    :ivar available: whether the plugin can take events.
    """

    def __init__(self, available: bool = False) -> None:
        self.available = available
        self._watchers: list[Callable[[bool], object]] = []

    def set(self, available: bool) -> None:
        """Say so; those who watch hear of a change only."""
        if available != self.available:
            self.available = available
            for watcher in self._watchers:
                watcher(available)

    def watch(self, watcher: Callable[[bool], object]) -> None:
        """Have ``watcher`` called at each change, with the new value. It must not raise."""
        self._watchers.append(watcher)
