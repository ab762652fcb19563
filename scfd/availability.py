"""Whether the plugin can take events now: back-pressure for the triggers."""

from __future__ import annotations

from collections.abc import Callable


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
