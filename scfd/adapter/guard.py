"""
Run a command that does not outlive whoever started it, not even after ``kill -9``.

``python -m scfd.adapter.guard [--cwd FOLDER] -- COMMAND ARG…`` stands between the node and a process that it
needs. Its standard input is a pipe whose other end the node holds and never writes to: the kernel closes
that end however the node dies, and the guard then kills the command with all its children, on
Linux also those that have made themselves daemons. Standard library only, so that it starts in some 30 ms.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType

#: Exit statuses, as shells and ``timeout`` have them.
EXIT_USAGE = 2
EXIT_NOT_STARTED = 125  # for now: no process or memory left, text file busy
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNALLED = 128  # plus the number of the signal

_STDIN = 0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
#: What can't be executed until somebody mends the command; any other error may pass.
_NOT_EXECUTABLE = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
#: Signals to the guard that its command gets.
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
#: Seconds in which what the command has left behind is killed. A fork bomb may be faster for ever.
_CLEANING = 3.0


def guarded(command: Sequence[str], cwd: str = "") -> list[str]:
    """
    The command line that runs ``command`` under a guard.

    Start it with a pipe as standard input and keep the pipe open: closing it kills the command.
    SIGTERM to the guard is SIGTERM to the command and its children.

    :param command: an executable, looked for on ``PATH``, and its arguments; not empty.
    :param cwd: the folder that the command starts in, and that a relative path of its executable
        begins at; empty for the working directory.
    """
    # Isolated (-I) and without site (-S): a signal.py in the working directory can't get in the
    # way, and it starts faster. The environment reaches the command as it is, PYTHONPATH included.
    folder = ["--cwd", cwd] if cwd else []
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), *folder, "--", *command]


def main(argv: Sequence[str]) -> int:
    """
    Run a command, wait for its end, and kill what it left behind.

    :param argv: perhaps ``--cwd`` and a folder, then ``--``, the executable, its arguments.
    :returns: the command's exit status, or 128 and the signal it died of.
    """
    cwd, argv = (argv[1], argv[2:]) if argv[:1] == ["--cwd"] and len(argv) > 1 else ("", argv)
    if len(argv) < 2 or argv[0] != "--":
        sys.stderr.write("usage: python -m scfd.adapter.guard [--cwd FOLDER] -- COMMAND [ARG...]\n")
        return EXIT_USAGE
    _leave_process_group()
    _adopt_orphans()
    try:
        wakeup = _signal_pipe()
        child = _start(argv[1:], cwd)
    except OSError as error:
        _complain(argv[1], error)
        return EXIT_NOT_STARTED
    status = os.waitstatus_to_exitcode(_wait(child, wakeup))
    _signal_group(child, signal.SIGKILL)
    _kill_what_is_left()
    return status if status >= 0 else EXIT_SIGNALLED - status


def _leave_process_group() -> None:
    """Ctrl-C in a terminal is for the node alone: it still needs the command while it drains."""
    with suppress(PermissionError):  # the leader of a session has a group of its own already
        os.setpgid(0, 0)


def _signal_pipe() -> int:
    """:returns: a descriptor on which the number of each signal arrives as a byte."""
    wakeup, write_end = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_PASSED_ON):
        signal.signal(number, _handled_by_wakeup)
    return wakeup


def _handled_by_wakeup(number: int, frame: FrameType | None) -> None:
    """Without a handler Python would not write to the wakeup descriptor."""


def _start(command: Sequence[str], cwd: str) -> int:
    """:returns: the id of the new process, which is also that of its process group."""
    guard = os.getpid()
    die_with_parent = _die_with_parent()  # made here: little is safe between fork and exec
    # A signal that the new process gets before exec must not end in the guard's handlers: it would be lost.
    asked = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        _become(command, cwd, guard, die_with_parent, asked)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked)
    # Parent and child both do it, so that the group exists for both from here on.
    with suppress(PermissionError, ProcessLookupError):  # the child was first
        os.setpgid(child, child)
    return child


def _die_with_parent() -> Callable[[], object]:
    """:returns: a function that has the kernel kill its caller when the caller's parent is gone."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def _become(
    command: Sequence[str],
    cwd: str,
    guard: int,
    die_with_parent: Callable[[], object],
    mask: set[signal.Signals | int],
) -> None:
    """In the new process: become the command. Never returns."""
    what = command[0]
    try:
        os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != guard:
            os._exit(EXIT_SIGNALLED + signal.SIGKILL)  # the guard was gone before it was watched
        signal.set_wakeup_fd(-1)
        # Ignored signals stay ignored after exec, and Python ignores the first two.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, *_PASSED_ON):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        if cwd:
            what = f"in {cwd}"
            os.chdir(cwd)
            what = command[0]
        os.execvp(command[0], list(command))
    except OSError as error:
        _complain(what, error)
        if isinstance(error, FileNotFoundError):
            os._exit(EXIT_NOT_FOUND)
        os._exit(EXIT_NOT_EXECUTABLE if error.errno in _NOT_EXECUTABLE else EXIT_NOT_STARTED)


def _complain(what: str, error: OSError) -> None:
    os.write(2, f"can't run {what}: {error.strerror}\n".encode(errors="replace"))


def _wait(child: int, wakeup: int) -> int:
    """Wait for the end of the child, while obeying signals and watching standard input.

    :returns: its wait status.
    """
    sources = [_STDIN, wakeup]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if _STDIN in ready and not os.read(_STDIN, 4096):
            sources.remove(_STDIN)
            _signal_group(child, signal.SIGKILL)
        if wakeup in ready:
            received = os.read(wakeup, 4096)
            if any(number in received for number in _PASSED_ON):
                _signal_group(child, signal.SIGTERM)
            for ended, status in _reap():
                if ended == child:
                    return status


def _reap() -> Iterator[tuple[int, int]]:
    """:returns: id and wait status of each child that has ended, orphans that came to us included."""
    with suppress(ChildProcessError):  # there are no children any more
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _adopt_orphans() -> None:
    """
    Become the parent of every process below whose own parent ends, in the place of process 1.

    So those that leave the command's process group, as daemons do, can be found.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def _kill_what_is_left() -> None:
    """Kill every process below."""

    def below() -> list[int]:
        for _ in _reap():
            pass
        return _below(os.getpid())

    _kill_all(below)


def kill_marked(mark: str) -> None:
    """
    Kill every process with a certain environment variable, after a guard that was killed itself.

    It blocks for as long as that takes. Only Linux shows the environment of a process.

    :param mark: ``NAME=value``.
    """
    text = mark.encode()

    def marked() -> list[int]:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and text in _environ(name)]

    if os.path.isdir("/proc/self"):
        _kill_all(marked)


def _environ(process: str) -> list[bytes]:
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it is gone, or somebody else's
        return []


def _kill_all(find: Callable[[], Sequence[int]]) -> None:
    """Kill what is found, again and again: they may be starting others meanwhile."""
    deadline = time.monotonic() + _CLEANING
    while (left := find()) and time.monotonic() < deadline:
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.005)


def _below(process: int) -> list[int]:
    """The processes below one, where the kernel tells: it is Linux's, and a matter of how it was built."""
    try:
        with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
    except OSError:
        return []
    return children + [further for child in children for further in _below(child)]


def _signal_group(group: int, number: signal.Signals) -> None:
    # Nobody may be left in it; macOS says "permission" when only zombies are.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
