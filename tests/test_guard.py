"""The guard, with real processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

import scfd
from scfd.adapter.guard import EXIT_NOT_STARTED, guarded, kill_marked

#: Seconds in which anything here has to happen; it usually takes some 50 ms.
LIMIT = 20.0

on_linux = skipUnless(sys.platform.startswith("linux"), "the kernel's help is Linux's")


class GuardTests(SynchronousTestCase):
    """
    Commands here hold standard output open, as do their children: its end proves that all are gone.
    """

    def start(self, *command: str, cwd: str = "") -> subprocess.Popen[bytes]:
        guard = subprocess.Popen(
            guarded(command, cwd), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.addCleanup(self.finish, guard)
        return guard

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait(LIMIT)

    def read_line(self, pipe: IO[bytes] | None) -> bytes:
        return self.read(pipe, stop=b"\n")

    def read(self, pipe: IO[bytes] | None, stop: bytes | None = None) -> bytes:
        """Read to the end, or to the first ``stop``."""
        assert pipe is not None
        deadline = time.monotonic() + LIMIT
        data = b""
        while stop is None or stop not in data:
            ready, _, _ = select.select([pipe], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                self.fail(f"still open after {LIMIT:g} s; read {data!r}")
            chunk = os.read(pipe.fileno(), 4096)
            if not chunk:
                break
            data += chunk
        return data

    def test_exit_status(self) -> None:
        self.assertEqual(7, self.start("sh", "-c", "exit 7").wait(LIMIT))

    def test_status_of_a_command_that_died_of_a_signal(self) -> None:
        self.assertEqual(128 + signal.SIGKILL, self.start("sh", "-c", "kill -KILL $$").wait(LIMIT))

    def test_asked_to_end_before_the_command_runs(self) -> None:
        """Between fork and exec, where the guard's own handlers would swallow the signal."""
        code = (
            "import os, sys, time; from scfd.adapter import guard\n"
            "become = os.execvp\n"
            "os.execvp = lambda *a: (os.write(1, b'forked\\n'), time.sleep(0.5), become(*a))\n"
            "sys.exit(guard.main(['--', 'sleep', '60']))"
        )
        guard = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.finish, guard)
        self.read_line(guard.stdout)
        guard.terminate()
        self.assertEqual(128 + signal.SIGTERM, guard.wait(LIMIT))

    def test_output_and_empty_input(self) -> None:
        guard = self.start("sh", "-c", "cat; echo out; echo err >&2")
        self.assertEqual((b"out\n", b"err\n"), (self.read(guard.stdout), self.read(guard.stderr)))

    def test_command_not_found(self) -> None:
        guard = self.start("no-such-command-here", "argument")
        self.assertEqual(
            b"can't run no-such-command-here: No such file or directory\n", self.read(guard.stderr)
        )
        self.assertEqual(127, guard.wait(LIMIT))

    def test_a_command_that_may_be_executable_later(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        busy, binary = folder / "busy", folder / "binary"
        for file, text in ((busy, b"#!/bin/sh\n"), (binary, b"\x00\x01")):
            file.write_bytes(text)
            file.chmod(0o755)
        with busy.open("ab"):
            for file, why in ((busy, b"Text file busy"), (binary, b"Exec format error")):
                guard = self.start(str(file))
                self.assertEqual(self.read(guard.stderr), b"can't run %b: %b\n" % (bytes(file), why))
                self.assertEqual(EXIT_NOT_STARTED, guard.wait(LIMIT))

    @on_linux
    def test_a_system_without_processes(self) -> None:
        """The guard starts, and can't start the command."""
        limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4)); "
        guard = subprocess.Popen(
            [sys.executable, "-c", limit + "os.execv(sys.argv[1], sys.argv[1:])", *guarded(["true"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.finish, guard)
        self.assertEqual(self.read(guard.stderr), b"can't run true: Too many open files\n")
        self.assertEqual(EXIT_NOT_STARTED, guard.wait(LIMIT))

    @on_linux
    def test_what_a_killed_guard_leaves_behind_is_found_by_its_mark(self) -> None:
        mark = f"SCFD_TEST={os.getpid()}"
        script = "setsid sh -c 'echo $$; exec sleep 60' & sleep 60"
        guard = subprocess.Popen(
            guarded(["env", mark, "sh", "-c", script]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.addCleanup(self.finish, guard)
        self.assertTrue(self.read_line(guard.stdout).strip().isdigit())
        guard.kill()
        guard.wait(LIMIT)
        kill_marked(mark)
        self.assertEqual(b"", self.read(guard.stdout), "a process still holds the pipe")

    def test_command_not_executable(self) -> None:
        guard = self.start("/")
        self.assertEqual(b"can't run /: Permission denied\n", self.read(guard.stderr))
        self.assertEqual(126, guard.wait(LIMIT))

    def test_in_another_folder(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "program").write_text("#!/bin/sh\npwd\n")
        (folder / "program").chmod(0o755)
        guard = self.start("./program", cwd=str(folder))
        self.assertEqual(f"{folder.resolve()}\n".encode(), self.read(guard.stdout))

    def test_in_a_folder_that_is_not_there(self) -> None:
        guard = self.start("true", cwd="/no/such/folder")
        self.assertEqual(
            b"can't run in /no/such/folder: No such file or directory\n", self.read(guard.stderr)
        )
        self.assertEqual(127, guard.wait(LIMIT))

    def test_without_a_command(self) -> None:
        guard = self.start()
        self.assertEqual(
            b"usage: python -m scfd.adapter.guard [--cwd FOLDER] -- COMMAND [ARG...]\n",
            self.read(guard.stderr),
        )
        self.assertEqual(2, guard.wait(LIMIT))

    def test_runs_as_a_module(self) -> None:
        command = [sys.executable, "-m", "scfd.adapter.guard", "--", "sh", "-c", "exit 7"]
        environment = {**os.environ, "PYTHONPATH": str(Path(scfd.__file__).parent.parent)}
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        self.addCleanup(self.finish, guard)
        self.assertEqual(7, guard.wait(LIMIT))

    def test_end_of_input_kills_the_command_and_its_children(self) -> None:
        guard = self.start("sh", "-c", "trap '' TERM; sleep 600 & echo ready; wait")
        self.read_line(guard.stdout)
        assert guard.stdin is not None
        guard.stdin.close()
        self.assertEqual(b"", self.read(guard.stdout))
        self.assertEqual(128 + signal.SIGKILL, guard.wait(LIMIT))

    def test_end_of_the_holder_kills_the_command(self) -> None:
        # The holder leaves no chance to put anything in order: it is killed.
        holds = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()"
        command = guarded(["sh", "-c", "echo ready; exec sleep 600"])
        holder = subprocess.Popen([sys.executable, "-c", holds, *command], stdout=subprocess.PIPE)
        self.addCleanup(self.finish, holder)
        self.read_line(holder.stdout)
        holder.kill()
        self.assertEqual(b"", self.read(holder.stdout))

    def test_sigterm_is_passed_on(self) -> None:
        guard = self.start("sh", "-c", "trap 'echo asked; exit 5' TERM; sleep 600 & echo ready; wait")
        self.read_line(guard.stdout)
        guard.terminate()
        self.assertEqual(b"asked\n", self.read(guard.stdout))
        self.assertEqual(5, guard.wait(LIMIT))

    def test_sigint_is_passed_on_as_sigterm(self) -> None:
        guard = self.start("sh", "-c", "trap 'echo asked; exit 5' TERM; sleep 600 & echo ready; wait")
        self.read_line(guard.stdout)
        guard.send_signal(signal.SIGINT)
        self.assertEqual(b"asked\n", self.read(guard.stdout))
        self.assertEqual(5, guard.wait(LIMIT))

    def test_waits_for_a_command_that_takes_no_notice_of_sigterm(self) -> None:
        guard = self.start(
            "sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 600 & wait; done"
        )
        self.read_line(guard.stdout)
        guard.terminate()
        self.assertEqual(b"asked\n", self.read_line(guard.stdout))
        assert guard.stdin is not None
        guard.stdin.close()
        self.assertEqual(128 + signal.SIGKILL, guard.wait(LIMIT))

    def test_what_the_command_leaves_behind_is_killed(self) -> None:
        guard = self.start("sh", "-c", "(trap '' TERM; exec sleep 600) & exit 0")
        self.assertEqual(b"", self.read(guard.stdout))
        self.assertEqual(0, guard.wait(LIMIT))

    @on_linux
    def test_daemons_are_killed_as_well(self) -> None:
        """They leave the process group, and their parent, to outlive it."""
        daemon = "setsid sh -c 'trap \"\" TERM; setsid sleep 600 & sleep 600' &"
        guard = self.start("sh", "-c", f"{daemon} sleep 0.1; echo ready; sleep 600")
        self.read_line(guard.stdout)
        assert guard.stdin is not None
        guard.stdin.close()
        self.assertEqual(b"", self.read(guard.stdout))
        self.assertEqual(128 + signal.SIGKILL, guard.wait(LIMIT))

    @on_linux
    def test_orphans_are_reaped(self) -> None:
        guard = self.start("sh", "-c", "setsid sh -c 'sleep 0.05 & exit' ; sleep 0.3; echo ready; sleep 600")
        self.read_line(guard.stdout)
        below = Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text().split()
        self.assertEqual(1, len(below), "zombies")

    @on_linux
    def test_kill_of_the_guard_kills_the_command(self) -> None:
        guard = self.start("sh", "-c", "echo ready; exec sleep 600")
        self.read_line(guard.stdout)
        guard.kill()
        self.assertEqual(b"", self.read(guard.stdout))

    def test_ctrl_c_in_a_terminal_does_not_reach_the_guard(self) -> None:
        guard = self.start("sh", "-c", "echo ready; exec sleep 600")
        self.read_line(guard.stdout)
        self.assertEqual(guard.pid, os.getpgid(guard.pid))

    @on_linux
    def test_no_signal_is_ignored_in_the_command(self) -> None:
        """But for what whoever runs the tests has ignored: nohup does SIGHUP, and a shell SIGQUIT."""
        guard = self.start("grep", "SigIgn", "/proc/self/status")
        ignored = int(self.read(guard.stdout).split()[1], 16)
        status = Path("/proc/self/status").read_text()
        inherited = int(status.partition("SigIgn:")[2].split()[0], 16)
        pythons_or_the_guards = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)
        # Those of the C library are no program's; Python 3.13 has them ignored.
        known = sum(1 << (number - 1) for number in signal.valid_signals())
        for number in pythons_or_the_guards:
            inherited &= ~(1 << (number - 1))
        self.assertEqual(hex(inherited & known), hex(ignored & known))
