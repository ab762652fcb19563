"""A child process under a guard: its output line by line, and its end, asked for or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Seconds from SIGTERM to SIGKILL.
KILL_AFTER = 3.0
#: Seconds from there until the guard is killed itself, should it not do its work: it may be stopped.
KILL_GUARD_AFTER = 1.0
#: Seconds that the pipes of a process that has exited may stay open: a child of it may hold them.
PIPES_OPEN = 1.0
#: Bytes: a longer line is taken in pieces, so that a child that writes none can't fill the memory.
LONGEST_LINE = 65536
#: Lines that are taken in so many seconds: 5 ms of work for the reactor in each 20 ms. A child that writes
#: more, 5,000 lines/s, waits while its pipe is full: as with a terminal that is slow.
LINES, WINDOW = 100, 0.02
#: Bytes of a line that count as another line: a long one is more work.
_LINE_SIZE = 640


class Child(ProcessProtocol):
    """
    One run of a command that `scfd.adapter.guard.guarded` has wrapped, with its standard input a pipe.

    Subclasses say what to do with its lines.
    """

    transport: Any  # the process: an IProcessTransport whose pipes can be paused

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._outputs = {1: _Output(self.line_received), 2: _Output(self.error_line_received)}
        self._window_began, self._budget = -math.inf, 0.0
        self._pausing: IDelayedCall | None = None
        self._closing: IDelayedCall | None = None
        self._exited = False
        self._running = True
        self._waiting: list[Deferred[None]] = []

    def line_received(self, line: str) -> None:
        """Called with each line of its standard output."""
        raise NotImplementedError

    def error_line_received(self, line: str) -> None:
        """The same for its standard error."""
        self.line_received(line)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        output = self._outputs[childFD]
        output.add(data)
        if self._exited:
            output.shorten()
        elif self._pausing is None:
            self._take_lines()

    def _take_lines(self) -> None:
        now = self._reactor.seconds()
        if now - self._window_began >= WINDOW:
            self._window_began, self._budget = now, LINES
        for output in self._outputs.values():
            self._budget = output.take(self._budget)
        if self._budget <= 0:
            self.transport.pauseProducing()
            self._pausing = self._reactor.callLater(WINDOW, self._go_on)

    def _go_on(self) -> None:
        self._pausing = None
        self._window_began = -math.inf
        self._take_lines()
        if self._pausing is None:
            self.transport.resumeProducing()

    def processExited(self, reason: Failure) -> None:
        """Read what is left in its pipes without a pause, since its end is news that should not wait."""
        self._exited = True
        self._closing = self._reactor.callLater(PIPES_OPEN, self.transport.loseConnection)
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
            self.transport.resumeProducing()

    def processEnded(self, reason: Failure) -> None:
        for output in self._outputs.values():
            output.end()
        self._running = False
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)

    def when_ended(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the process has ended."""
        ended: Deferred[None] = Deferred()
        if self._running:
            self._waiting.append(ended)
        else:
            ended.callback(None)
        return ended

    def end(self) -> Deferred[None]:
        """
        Ask the process to end, and kill what is left of it and its children when it has not within 3 s.

        :returns: a Deferred that fires when it has ended.
        """
        ended = self.when_ended()
        if self._running:
            self._signal("TERM")
            # Its guard kills everything when it finds its standard input closed.
            kill = self._reactor.callLater(KILL_AFTER, self.transport.closeStdin)
            kill_guard = self._reactor.callLater(KILL_AFTER + KILL_GUARD_AFTER, self._signal, "KILL")
            ended.addBoth(_cancel, kill, kill_guard)
        return ended

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)


def _cancel(result: None, *calls: IDelayedCall) -> None:
    for call in calls:
        if call.active():
            call.cancel()


def _end_of_character(data: bytes, end: int) -> int:
    """Where to cut data, so that no character of UTF-8 is cut: at ``end``, or up to three bytes before it."""
    for back in range(1, 4):
        byte = data[end - back]
        if byte & 0xC0 != 0x80:  # not in the middle of a character: ASCII, or where one begins
            length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end - back if length > back else end
    return end


class _Output:
    """
    What a child has written to one of its outputs and nobody has taken yet.

    :param take: called with each line.
    """

    def __init__(self, take: Callable[[str], object]) -> None:
        self._take = take
        self._unread = b""
        self._left_out = 0

    def add(self, data: bytes) -> None:
        self._unread += data

    def take(self, budget: float) -> float:
        """
        Hand on lines, at least one where there is a budget.

        :param budget: how many lines of usual length.
        :returns: what is left of it; 0 or less when there may be more lines.
        """
        data, start = self._unread, 0
        while budget > 0:
            end = data.find(b"\n", start)
            following = end + 1
            if end < 0:
                if len(data) - start <= LONGEST_LINE:
                    break
                end = following = _end_of_character(data, len(data))
            self._hand_on(data[start:end])
            budget -= 1 + (end - start) // _LINE_SIZE
            start = following
        self._unread = data[start:]
        return budget

    def shorten(self) -> None:
        """Leave all but the last lines out: they say why a child has ended."""
        *lines, rest = self._unread.split(b"\n")
        self._left_out += max(0, len(lines) - LINES)
        self._unread = b"\n".join([*lines[-LINES:], rest[-LONGEST_LINE:]])

    def end(self) -> None:
        """Hand on what there is."""
        self.shorten()
        if self._left_out:
            self._take(f"({self._left_out} lines left out)")
        lines, self._unread = self._unread.split(b"\n"), b""
        for line in lines if lines[-1] else lines[:-1]:
            self._hand_on(line)

    def _hand_on(self, line: bytes) -> None:
        self._take(line.decode(errors="replace").rstrip())
