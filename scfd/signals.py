"""What signals mean to the process, from its first moment to its last. Imports next to nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int], object]

#: `scfd.errors.EXIT_ASKED_TO_STOP`, whose import takes 60 ms: too long for what comes first.
_ASKED_TO_STOP = 0


def end_at_once() -> None:
    """
    End the process at SIGTERM or SIGINT, with the status of a node that was asked to stop.

    For the time in which there is nothing to stop yet. Signals without a meaning here would end the process
    by default; they are ignored from here on.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os._exit(_ASKED_TO_STOP))
    # Not SIG_IGN, which the plugin's process would inherit.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _ignore)


def handle(stop: Handler, hang_up: Handler, user: Handler) -> None:
    """
    :param stop: called with the number at SIGTERM and SIGINT, between two instructions of other code.
    :param hang_up: likewise at SIGHUP.
    :param user: likewise at SIGUSR1.
    """
    handlers = (
        (signal.SIGTERM, stop),
        (signal.SIGINT, stop),
        (signal.SIGHUP, hang_up),
        (signal.SIGUSR1, user),
    )
    for number, handler in handlers:
        signal.signal(number, _calling(handler))
    signal.signal(signal.SIGUSR2, _ignore)


def _calling(handler: Handler) -> Callable[[int, FrameType | None], object]:
    return lambda number, frame: handler(number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler in Python: the system's default comes back in child processes."""
