"""
The whole suite, several modules at a time: ``python -m tests``.

Most integration tests wait for something most of the time, so ``trial tests``, which runs one after
the other, takes more than twice as long. ``trial -j`` does not get along with asyncioreactor: a worker
is lost after its first test that runs the reactor.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
#: Modules that run at the same time. On two processors they are busy with six.
WORKERS = 6
#: Those that take longest, in the order of their times. They are begun first, right after the unit tests.
LONGEST = (
    "test_nothing_lost",
    "test_disk",
    "test_conformance",
    "test_nats_consumers",
    "test_package",
    "test_generation_faults",
    "test_supervision",
    "test_examples",
    "test_nats",
    "test_nats_soak",
    "test_nats_stopping",
    "test_stopping",
    "test_task_plugins",
)
#: It measures what takes milliseconds, so it waits until all others are done.
LAST = "test_stalls"


def jobs() -> list[list[str]]:
    """What is run by one trial each: all unit tests together, and every module of integration tests."""
    modules = {path.stem for path in (HERE / "integration").glob("test_*.py")}
    units = [f"tests.{path.stem}" for path in sorted(HERE.glob("test_*.py"))]
    integration = [*LONGEST, *sorted(modules - {*LONGEST, LAST}), LAST]
    return [units, *([f"tests.integration.{name}"] for name in integration)]


def run(modules: Sequence[str], folder: str) -> Counter[str]:
    """
    Run some modules, and print their result: the whole output when a test failed.

    :returns: how many tests had which outcome, by trial's names for them.
    """
    name = modules[0] if len(modules) == 1 else "unit tests"
    began = time.monotonic()
    trial = [sys.executable, "-m", "twisted.trial", f"--temp-directory={folder}/{name.replace(' ', '-')}"]
    with subprocess.Popen(
        [*trial, *modules], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    last = output.strip().rpartition("\n")[2]
    outcomes = Counter({kind: int(count) for kind, count in re.findall(r"(\w+)=(\d+)", last)})
    if process.returncode and not outcomes["failures"] + outcomes["errors"]:
        outcomes["errors"] += 1  # trial itself, or the process
    if process.returncode:
        # Indented: .ci/run adds up what stands at the beginning of a line.
        print(textwrap.indent(output, "  "))
    processors = used.ru_utime + used.ru_stime
    print(f"{name:42}{time.monotonic() - began:6.1f} s, {processors:5.1f} s of CPU  {last}", flush=True)
    return outcomes


def main() -> int:
    began = time.monotonic()
    *together, last = jobs()
    with tempfile.TemporaryDirectory(prefix="scfd-tests-") as folder:
        with ThreadPoolExecutor(WORKERS) as workers:
            outcomes = sum(workers.map(run, together, [folder] * len(together)), Counter[str]())
        outcomes += run(last, folder)
    failed = bool(outcomes["failures"] + outcomes["errors"] + outcomes["unexpectedSuccesses"])
    print(f"Ran in {time.monotonic() - began:.1f} s")
    print("FAILED" if failed else "PASSED", f"({', '.join(f'{k}={v}' for k, v in outcomes.items())})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
