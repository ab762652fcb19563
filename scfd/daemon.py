"""Goes into the background, while the terminal is told how the start went."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from scfd.errors import EXIT_ASKED_TO_STOP

#: What a daemon's new files allow: nothing to others. As twistd has it.
UMASK = 0o077
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)


def detach(started_line: Callable[[], str]) -> Callable[[], None]:
    """
    Go on in a child process, in a session of its own, whose output still reaches the terminal.

    The process that was started waits. It ends with status 0 once the child says that it has started, and
    with the child's own status when that ends before. twistd's own way ends with 0 before services have had
    time to fail.

    :param started_line: makes the line for the terminal, once the child has started.
    :returns: in the child: to be called once it has started. It lets go of the terminal.
    """
    read_end, write_end = os.pipe()
    # Until the parent passes them on: one that ended it now would leave the child to itself.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child:
        os.close(write_end)
        os._exit(_status_of_start(child, read_end))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    os.close(read_end)
    os.setsid()

    def started() -> None:
        with suppress(OSError):  # the terminal is gone
            print(started_line(), file=sys.__stdout__, flush=True)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        os.close(nowhere)
        with suppress(OSError):  # whoever waited has been killed
            os.write(write_end, b"0")
        os.close(write_end)

    return started


def _status_of_start(child: int, read_end: int) -> int:
    for number in _PASSED_ON:
        signal.signal(number, lambda number, frame: _pass_on(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    if os.read(read_end, 1):
        return EXIT_ASKED_TO_STOP
    _, status = os.waitpid(child, 0)
    # As shells say that a signal ended a process.
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)
