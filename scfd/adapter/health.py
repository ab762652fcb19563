"""Watches the health of a plugin behind HTTP: until it is ready, and for as long as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.adapter.calls import PluginClient, RequestError

_log = Logger(namespace="scfd.plugin")

#: Seconds between two looks at a plugin that is not ready: quick at first, then doubled.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
#: Seconds for one look, at most: it has ended before the next one is due.
LOOK_TIMEOUT = 5.0


class Health:
    """
    :param interval: seconds from one look to the next at a plugin that is ready; 0 is not to look.
    :param failures: how many looks must fail in a row.
    :ivar last: what the last look got, in a few words; empty when the plugin was ready.
    :ivar silent: whether the last look got no answer at all.
    :ivar busy: how many events the plugin is acting on, which may keep it from answering.
    :ivar busy_otherwise: asks how many other requests it is acting on.
    """

    def __init__(self, client: PluginClient, interval: float, failures: int, clock: Any) -> None:
        self._client = client
        self._interval = interval
        self._failures = failures
        self._clock = clock
        self._event_lost = False
        self.last = "nothing yet"
        self.silent = self._late = False
        self.busy = 0
        self.busy_otherwise: Callable[[], int] = lambda: 0

    def event_answered(self) -> None:
        """Say that the plugin has answered an event: it is not stuck."""
        self._event_lost = False

    def event_lost(self) -> None:
        """Say that the plugin has let the time for an event pass."""
        self._event_lost = True

    async def until_ready(self, longest_silence: float) -> bool:
        """
        Look again and again until the plugin is ready.

        :param longest_silence: seconds without any answer after which it is no use to go on.
        :returns: whether it is ready.
        """
        pause = FIRST_PAUSE
        heard_at = self._clock.seconds()
        while not await self._look():
            if not self.silent:
                heard_at = self._clock.seconds()
            elif self._clock.seconds() - heard_at >= longest_silence:
                return False
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return True

    async def while_ready(self) -> None:
        """
        Look from time to time, and return once too many looks have failed in a row.

        One that is not answered in time does not count while the plugin is busy: many serve one request
        after the other, and each has its own time limit. Once an event has run into that, it counts.
        """
        self._event_lost = False
        failed = 0
        while failed < self._failures:
            await self._pause(again=failed > 0)
            if await self._look():
                failed = 0
            elif not (self._late and (self.busy or self.busy_otherwise()) and not self._event_lost):
                failed += 1
                _log.warn(
                    "GET /health: {last} ({failed} of {most} in a row)",
                    last=self.last,
                    failed=failed,
                    most=self._failures,
                )

    def _pause(self, again: bool) -> Deferred[None]:
        if not self._interval:
            return Deferred()
        return deferLater(self._clock, min(self._interval, LONGEST_PAUSE) if again else self._interval)

    async def _look(self) -> bool:
        try:
            answer = await self._client.get_health(min(LOOK_TIMEOUT, self._interval or LOOK_TIMEOUT))
        except RequestError as error:
            self.last, self.silent, self._late = str(error), True, error.kind == "timeout"
            return False
        self.silent = self._late = False
        self.last = "" if answer.status == 200 else f"HTTP status {answer.status}"
        return not self.last
