"""What a process is to its node: time that passes, a log, and rules for code in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from twisted.logger import Logger

from scfd.events.wire import from_rfc3339
from scfd.testing.clock import VirtualLoop, VirtualReactor, instead_of_the_real_one
from scfd.testing.mistakes import TestingError
from scfd.testing.record import Log, Sleeps

_log = Logger(namespace="scfd.testing")

#: When tests begin unless they say otherwise: a Monday.
START = "2026-01-05T00:00:00Z"


class Engine:
    """
    :param start: when time begins, RFC 3339.
    :ivar busy: see `VirtualLoop`.
    :ivar closed: whether nothing runs any more.
    """

    def __init__(self, start: str) -> None:
        self._began = moment(start)
        self._loop = VirtualLoop()
        self.busy = self._loop.busy
        self._loop.held_up = self._held_up
        self.reactor = VirtualReactor(self._loop)
        self.log = Log(self.now)
        self._sleeps = Sleeps()
        self.closed = False

    def now(self) -> float:
        """The wall clock, seconds since the epoch."""
        # Rounded as a float of this size is anyway: a moment is then exactly its second.
        return round(self._began + self._loop.time(), 6)

    def _held_up(self, seconds: float) -> None:
        _log.warn(
            "the plugin held up the node for {seconds:.1f} s of real time; expected an await in place of"
            " time.sleep, and long work in threads (IBlockingPlugin)",
            seconds=seconds,
        )

    def check_open(self) -> None:
        """:raises TestingError: it is closed."""
        if self.closed:
            raise TestingError("the node is closed; expected a new Node for each test")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have code meet this time, this log and these rules."""
        self.check_open()
        with instead_of_the_real_one(self.reactor), self.log.listening(), self._sleeps.refused():
            yield
        caught, self._sleeps.caught = self._sleeps.caught, None
        if caught is not None:
            raise caught

    def run(
        self,
        seconds: float = 0.0,
        function: Callable[[], object] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Let time pass.

        :param function: called at its beginning, where a loop runs.
        :param enough: ends it before, when it is true.
        """
        with self.running():
            if function is not None:
                self._loop.call_soon(function)
            self._loop.run_until(self._loop.time() + seconds, enough)

    def freeze(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        self.check_open()
        self._loop.jump(seconds)

    def close(self) -> None:
        """Nothing runs any more."""
        self.closed = True
        try:
            self.reactor.close()
        finally:
            self._loop.finish()


def moment(text: str) -> float:
    """:returns: seconds since the epoch."""
    try:
        moment = from_rfc3339(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise TestingError(f"Node(start={text!r}): expected a time with its zone, such as {START}")
    return moment.timestamp()


def duration(name: str, time: timedelta, days: float, hours: float, minutes: float, seconds: float) -> float:
    if not isinstance(time, timedelta):
        raise TestingError(f"{name}({time!r}): expected a timedelta, or seconds=, minutes=, hours=, days=")
    passed = (time + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)).total_seconds()
    if passed < 0:
        raise TestingError(f"{name}({passed:g} s): time can't go back; expected 0 or more")
    return passed
