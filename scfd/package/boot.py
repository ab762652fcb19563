"""
Boots a package as SCF does, sees it get healthy, and stops it.

A program of its own, run by its path: it is given a network namespace with nothing in it, so that the node
reaches no control plane and no stream, and a mount namespace in which only /tmp can be written.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress

#: Where SCF asks.
PORT = 9000
#: Linux's numbers: to read and to set the flags of a network interface, and the flag that turns it on.
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
#: A user that owns nothing.
_NOBODY = 65534


def isolate(folder: str) -> None:
    """Turn on the loopback interface, and make everything but /tmp read-only, first of all the package."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, _GET_FLAGS, request))[1]
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    for command in (
        ("mount", "--bind", "/tmp", "/tmp"),
        ("mount", "--bind", folder, folder),
        ("mount", "-o", "remount,bind,ro", folder),
    ):
        subprocess.run(command, check=True)
    # Where / is no mount of its own, the package alone is read-only.
    subprocess.run(("mount", "-o", "remount,bind,ro", "/"), check=False, stderr=subprocess.DEVNULL)


def _healthy() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _user(interpreter: str) -> int | None:
    """Nobody, as root who has a Python that others may run; else this user."""
    if os.geteuid() != 0:
        return None
    with suppress(OSError):
        if subprocess.run([interpreter, "-c", ""], user=_NOBODY, stderr=subprocess.DEVNULL).returncode == 0:
            return _NOBODY
    return None


def boot(folder: str, interpreter: str, environ: dict[str, str], patience: float, drain: float) -> str:
    """
    :param patience: seconds until it has to be healthy.
    :param drain: seconds that its work may take at the end.
    :returns: empty, or what went wrong.
    """
    program = os.path.join(folder, "scf_bootstrap")
    try:
        node = subprocess.Popen(
            [program], cwd="/", env=environ, stdin=subprocess.DEVNULL, stdout=2, user=_user(interpreter)
        )
    except OSError as error:
        return f"scf_bootstrap can't be run: {error.strerror}"
    began = time.monotonic()
    try:
        while not _healthy():
            if node.poll() is not None:
                return f"scf_bootstrap ended with status {node.returncode} before GET /health gave 200"
            if time.monotonic() - began > patience:
                return f"GET /health on port {PORT} gave no 200 within {patience:g} s"
            time.sleep(0.05)
        print(json.dumps({"healthy": time.monotonic() - began}), flush=True)
        node.send_signal(signal.SIGTERM)
        try:
            status = node.wait(drain)
        except subprocess.TimeoutExpired:
            return f"did not end within {drain:g} s of SIGTERM; scf_bootstrap has to exec the interpreter"
        return "" if status == 0 else f"ended with status {status} after SIGTERM; expected 0"
    finally:
        with suppress(ProcessLookupError):
            node.kill()
        node.wait()


if __name__ == "__main__":
    _arguments = json.loads(sys.argv[1])
    isolate(_arguments["folder"])
    print(json.dumps({"problem": boot(**_arguments)}))
