"""
A real node between a test and a plugin that is nothing but bytes.

The tests that use it are blocking ones: the node is a process, the plugin a thread each connection.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.integration.daemon import ROOT, TWISTD, free_ports
from tests.integration.raw_http import PATIENCE, Message, Stream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@frozen
class Response:
    """
    :ivar data: as it goes over the wire.
    :ivar close: whether the plugin closes the connection after it.
    """

    data: bytes
    close: bool = False


class Plugin:
    """
    Records the requests it gets.

    :param certificate: a PEM file with certificate and key, to speak TLS.
    :ivar response: gives the response to a request.
    :ivar serve: looks after a request whose head has come; for plugins that do it otherwise.
    :ivar heads: of all requests, also of those that were broken off.
    :ivar requests: the whole ones.
    :ivar errors: what was wrong with those that could not be read.
    """

    def __init__(self, certificate: str = "") -> None:
        self.certificate = certificate
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
        if self._tls is not None:
            self._tls.load_cert_chain(certificate)
        self.heads: list[Message] = []
        self.requests: list[Message] = []
        self.errors: list[str] = []
        self.response: Callable[[Message], Response] = lambda request: Response(OK)
        self.serve: Callable[[Message, Stream], None] = self._serve
        self._turn: AbstractContextManager[Any] = nullcontext()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closed only, it would go on accepting.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def serve_one_at_a_time(self) -> None:
        """Be a plugin of one thread, which reads one connection until it is closed, then the next."""
        self._turn = threading.Lock()

    def forget(self) -> None:
        """Forget what was recorded, and what was set."""
        self.heads, self.requests, self.errors = [], [], []
        self.response = lambda request: Response(OK)
        self.serve = self._serve

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=[connection], daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with self._turn, Stream(connection) as stream:
            stream.socket.settimeout(None)  # the node keeps idle ones for as long as it likes
            try:
                while head := stream.head():
                    if head.line.startswith(b"GET /health "):
                        stream.send(OK)
                        continue
                    self.heads.append(head)
                    self.serve(head, stream)
            except EOFError:
                pass  # also in the middle of a request: its head is on record
            except ValueError as error:
                self.errors.append(str(error))
            except OSError:
                pass  # closed by a test, or by the end of one

    def _serve(self, head: Message, stream: Stream) -> None:
        if head.values(b"expect"):
            stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = stream.body(head)
        self.requests.append(request)
        response = self.response(request)
        stream.send(response.data)
        if response.close:
            raise EOFError


class Rig:
    """
    A node whose gateway forwards to a plugin.

    :param drain: seconds, as ``shutdown.drain`` has them.
    :param plugin: another one than the usual.
    :param gateway: further settings of the section ``gateway``.
    """

    def __init__(self, drain: float = 20, plugin: Plugin | None = None, **gateway: Any) -> None:
        self.plugin = plugin or Plugin()
        scheme = "https" if self.plugin.certificate else "http"
        (self.port,) = free_ports(1)
        self._folder = tempfile.TemporaryDirectory(prefix="scfd-gateway-")
        folder = Path(self._folder.name)
        config = {
            "system": {"name": "gateway", "node_id": "n", "state_dir": str(folder / "state")},
            "gateway": {"listen": f"127.0.0.1:{self.port}", **gateway},
            "adapter": {"http": {"url": f"{scheme}://127.0.0.1:{self.plugin.port}"}},
            "admin": {"listen": ""},
            "shutdown": {"drain": drain},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # which is YAML, too
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, TWISTD, "-n", "scfd", "--config", "config.yaml"],
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    **({"SSL_CERT_FILE": self.plugin.certificate} if self.plugin.certificate else {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What the node has written."""
        return self._log.read_text(errors="replace")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 2 * PATIENCE
        while " ready" not in self.log:
            assert self._process.poll() is None, f"the node did not start:\n{self.log}"
            assert time.monotonic() < deadline, f"the node is not ready:\n{self.log}"
            time.sleep(0.02)

    def connect(self) -> Stream:
        """A caller's connection."""
        return Stream(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE))

    def terminate(self) -> None:
        """Ask the node to stop."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """:returns: the node's exit status."""
        return self._process.wait(2 * PATIENCE)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.plugin.close()
        self._folder.cleanup()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Ask again and again until the response is true; :returns: it."""
    deadline = time.monotonic() + PATIENCE
    while not (response := condition()):
        assert time.monotonic() < deadline, f"{what}: not in {PATIENCE:g} s"
        time.sleep(0.01)
    return response
