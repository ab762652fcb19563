"""Checks the health of a plugin behind HTTP: until it is ready, and for as long as it is."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from scfd.adapter.calls import PluginClient, PluginResponse, RequestError

_log = Logger(namespace="scfd.plugin")

#: Seconds between two checks of a plugin that is not ready: short at first, then doubled.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
#: Seconds for one check, at most: it has ended before the next one is due.
CHECK_TIMEOUT = 5.0


class Verdict(Enum):
    """What a check has shown."""

    READY = "status 200"
    NOT_READY = "another status: it works, and says that it can't take events"
    UNREACHABLE = "no connection, or one that is closed without a byte: nothing listens at its address"
    SILENT = "a connection, and no response"
    BUSY = "no response in time, while it works on other requests"
    UNKNOWN = "no check was possible: the node lacks what a connection takes"


class Health:
    """
    :param interval: seconds from one check to the next at a plugin that is ready; 0 is not to check.
    :param failures: how many checks must fail in a row.
    :ivar last: what the last check got, in a few words; empty when the plugin was ready.
    :ivar verdict: of the last check.
    :ivar busy: how many events the plugin is acting on, which may keep it from responding.
    :ivar busy_otherwise: asks how many other requests it is acting on.
    """

    def __init__(self, client: PluginClient, interval: float, failures: int, clock: Any) -> None:
        self._client = client
        self._interval = interval
        self._failures = failures
        self._clock = clock
        self._watching = self._event_lost = self._not_sent = False
        self._checking: Deferred[PluginResponse] = Deferred()
        #: Fires when the pause before the next check is over; None while there is none.
        self._pausing: Deferred[None] | None = None
        self.last = "nothing yet"
        self.verdict = Verdict.UNKNOWN
        self.busy = 0
        self.busy_otherwise: Callable[[], int] = lambda: 0

    def event_responded(self) -> None:
        """Say that the plugin has responded to an event: it is not stuck."""
        self._event_lost = False

    def event_lost(self) -> None:
        """Say that the plugin has let the time for an event pass."""
        self._event_lost = True

    def check_now(self) -> None:
        """Check without waiting for the next time: an event has met a broken connection."""
        if self._pausing is not None:
            self._pausing.callback(None)

    def not_sent(self, verdict: Verdict, why: str) -> None:
        """
        Say that an event could not be sent.

        :param verdict: `Verdict.UNREACHABLE` or `Verdict.UNKNOWN`.
        """
        if self._watching and not self._not_sent:
            self.verdict, self.last = verdict, why
            self._not_sent = True
            if self._pausing is not None:
                self._pausing.callback(None)
            else:
                self._checking.cancel()

    async def until_ready(self, longest_silence: float) -> bool:
        """
        Check again and again until the plugin is ready.

        :param longest_silence: seconds without any response after which there is no hope.
        :returns: whether it is ready.
        """
        pause = FIRST_PAUSE
        heard_at = self._clock.seconds()
        while True:
            received = self._client.activity.received
            await self._check()
            if self.verdict is Verdict.READY:
                return True
            responds = self.verdict not in (Verdict.UNREACHABLE, Verdict.SILENT)
            if responds or self._client.activity.received != received:
                heard_at = self._clock.seconds()
            elif self._clock.seconds() - heard_at >= longest_silence:
                return False
            await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def while_ready(self) -> None:
        """
        Check from time to time, and return once the plugin can't take events any more.

        It returns at once when an event could not be sent, or a check is refused a connection or finds it
        closed without a byte. Other checks have to fail several times in a row. Those without a response do
        not count when the plugin has sent something to anybody meanwhile, or is busy: it may serve one
        request after the other. Once an event has run into its time limit, being busy is no excuse.
        """
        self._watching, self._event_lost, self._not_sent = True, False, False
        try:
            await self._watch()
        finally:
            self._watching = False

    async def _watch(self) -> None:
        failed = 0
        while failed < self._failures:
            await self._pause(again=failed > 0)
            before = self.verdict
            if not self._not_sent:
                await self._check()
            if self._not_sent or self.verdict is Verdict.UNREACHABLE:
                return
            if self.verdict is Verdict.READY:
                failed = 0
            elif self.verdict is Verdict.UNKNOWN and before is not Verdict.UNKNOWN:
                _log.warn("GET /health: {last}; this says nothing about the plugin", last=self.last)
            elif self.verdict in (Verdict.NOT_READY, Verdict.SILENT):
                failed += 1
                _log.warn(
                    "GET /health: {last} ({failed} of {most} in a row)",
                    last=self.last,
                    failed=failed,
                    most=self._failures,
                )

    async def _pause(self, again: bool) -> None:
        pausing: Deferred[None] = Deferred()
        over = None
        if self._interval:
            seconds = min(self._interval, LONGEST_PAUSE) if again else self._interval
            over = self._clock.callLater(seconds, pausing.callback, None)
        self._pausing = pausing
        try:
            await pausing
        finally:
            self._pausing = None
            if over is not None and over.active():
                over.cancel()

    async def _check(self) -> None:
        received = self._client.activity.received
        self._checking = self._client.get_health(min(CHECK_TIMEOUT, self._interval or CHECK_TIMEOUT))
        try:
            response = await self._checking
        except CancelledError:
            if not self._not_sent:
                raise
        except RequestError as error:
            self.last = str(error)
            self.verdict = self._without_response(error.kind, self._client.activity.received != received)
        else:
            self.last = "" if response.status == 200 else str(response)
            self.verdict = Verdict.NOT_READY if self.last else Verdict.READY

    def _without_response(self, kind: str, heard: bool) -> Verdict:
        if kind == "no resources":
            return Verdict.UNKNOWN
        if kind == "connect" or (kind == "broken" and not heard):
            # A proxy in front of a plugin that is away accepts connections, and closes them again.
            return Verdict.UNREACHABLE
        late = kind in ("timeout", "connect timeout", "no connection")
        occupied = kind == "timeout" and (self.busy or self.busy_otherwise()) and not self._event_lost
        return Verdict.BUSY if occupied or (late and heard) else Verdict.SILENT
