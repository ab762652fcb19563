"""What a chaos run has lost, by comparing what each part says it has done."""

from __future__ import annotations

import json
import time
from typing import Any

from attrs import define, field

from tests.chaos.world import TASKS, World

#: Seconds around the node's death in which the response to a timer event may not have reached its disk.
BEFORE, AFTER = 0.5, 3.0


@define
class Tally:
    """
    :ivar published: how many messages, numbered from 1.
    :ivar dead: the numbers of those in the dead letter stream.
    :ivar stretches: seconds of each stretch in which nothing worked though everything was there.
    """

    _world: World
    published: int = 0
    dead: set[int] = field(factory=set)
    stretches: list[float] = field(factory=list)
    _there_since: float = field(factory=time.monotonic)
    _progress: tuple[Any, float] = (None, 0.0)

    def all_there(self) -> None:
        """Every part has just come back."""
        self._there_since = time.monotonic()

    def idle(self) -> float:
        """:returns: seconds since something last worked, or since everything has been there."""
        size = self._world.tally.stat().st_size if self._world.tally.exists() else 0
        now = (size, len(self._world.taken))
        if now != self._progress[0]:
            self._progress = (now, time.monotonic())
        return time.monotonic() - max(self._progress[1], self._there_since)

    def note_stretch(self, seconds: float) -> None:
        self.stretches.append(seconds)
        self._world.keep_output()

    def lines(self, kind: str) -> list[Any]:
        if not self._world.tally.exists():
            return []
        lines = (json.loads(line) for line in self._world.tally.read_text().splitlines())
        return [line for line in lines if line[0] == kind]

    def reports_are_in(self) -> bool:
        """Whether no result is missing, as far as can be said now."""
        handled = {line[1] for line in self.lines("message")}
        return not self._lost_results(handled) and not self._lost_timer_results()

    def _lost_results(self, numbers: set[int]) -> set[int]:
        taken = {task_id for task_id, _ in self._world.taken}
        return {number for number in numbers - self.dead if f"message-{number}" not in taken}

    def _lost_timer_results(self) -> list[tuple[str, str]]:
        taken = set(self._world.taken)
        return [
            (task_id, moment)
            for _, moment, at in self.lines("timer")
            for task_id in TASKS
            if (task_id, moment) not in taken and not self._may_be_lost(at)
        ]

    def _may_be_lost(self, at: float) -> bool:
        """Whether the node was killed before the results of an event can have been on its disk."""
        until = at + AFTER
        for began, ended in self._world.full:
            if began - AFTER <= at <= ended:
                until = max(until, ended + AFTER)
        return any(at - BEFORE <= kill <= until for kill in self._world.node_kills)

    def _violations(self) -> list[tuple[str, str, str]]:
        """Results of a task that came after a later one; one that is repeated is not."""
        newest: dict[str, str] = {}
        wrong = []
        for task_id, moment in self._world.taken:
            if task_id in TASKS:
                if moment < newest.get(task_id, ""):
                    wrong.append((task_id, moment, newest[task_id]))
                newest[task_id] = max(moment, newest.get(task_id, ""))
        return wrong

    def report(self) -> int:
        """Print the figures. :returns: the exit status."""
        handled = {line[1] for line in self.lines("message")}
        lost = set(range(1, self.published + 1)) - handled - self.dead
        faults: dict[str, list[Any]] = {
            "lost messages": sorted(lost),
            "lost results of messages": sorted(self._lost_results(handled)),
            "lost results of timer events": self._lost_timer_results(),
            "order violations": self._violations(),
            "orphans": [*self._world.orphans, *map(str, self._world.processes())],
            "stretches without work": self.stretches,
        }
        events = len(self.lines("timer"))
        print(
            f"{self.published} messages published, {len(handled)} handled "
            f"({len(self.lines('message'))} times), {len(self.dead)} dead letters, {events} timer events, "
            f"{len(self._world.taken)} results taken"
        )
        for name, found in faults.items():
            print(f"{name}: {len(found)}{f'; first: {found[:5]}' if found else ''}")
        return 1 if any(faults.values()) else 0
