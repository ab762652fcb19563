"""Real nodes for the measurements: each ``twistd -n scfd`` in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

_TWISTD = str(Path(sysconfig.get_path("scripts")) / "twistd")
_ROOT = str(Path(__file__).resolve().parents[1])


@frozen
class Node:
    """
    :ivar start_up: seconds from the start of the process to the log line ``ready``.
    """

    pid: int
    start_up: float


def timer(name: str, cron: str, **settings: Any) -> dict[str, Any]:
    """A timer trigger, as it stands in a config."""
    return {"name": name, "type": "timer", "settings": {"cron": cron, **settings}}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextmanager
def running(config: Mapping[str, Any]) -> Iterator[Node]:
    """
    A node that is ready, and stopped in the end.

    :param config: without ``system`` and ``admin``, which are the same for all.
    :raises SystemExit: with its output when it does not become ready.
    """
    with tempfile.TemporaryDirectory() as folder:
        system = {"name": "bench", "version": "v1", "node_id": "bench", "state_dir": f"{folder}/state"}
        whole = {"system": system, "admin": {"listen": f"127.0.0.1:{free_port()}"}, **config}
        # YAML of one line a trigger, as a person or a program would write it.
        triggers = "".join(f"  - {json.dumps(trigger)}\n" for trigger in whole.pop("triggers"))
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in whole.items())
        Path(folder, "config.yaml").write_text(f"{text}triggers:\n{triggers}")
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, _TWISTD, "-n", "scfd", "--config", "config.yaml"],
            cwd=folder,
            # UTC: so that the hours that expressions are made of are known here.
            env={**os.environ, "PYTHONPATH": _ROOT, "TZ": "UTC"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait_until_ready(process)
            yield Node(process.pid, time.monotonic() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        if line.rstrip().endswith(" ready"):
            return
        output.append(line)
    raise SystemExit(f"the node did not start:\n{''.join(output)}")
