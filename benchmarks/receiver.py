"""
A plugin in a process of its own that notes when each event came.

``python -m benchmarks.receiver`` prints its port. It responds to ``POST /on-trigger`` and everything
else with ``{}``, and ``GET /arrivals`` with what came since it was last asked: a list of
``[name, fire_time, time.time() at receipt]``. A plain asyncio server, for it must not be what is measured.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from datetime import datetime

from attrs import frozen


@frozen
class Arrival:
    """
    :ivar name: of the trigger.
    :ivar scheduled: seconds since the epoch.
    :ivar received: seconds since the epoch.
    """

    name: str
    scheduled: float
    received: float

    @property
    def lateness(self) -> float:
        """Seconds."""
        return self.received - self.scheduled


class Receiver:
    """The receiver, as the program that started it sees it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.receiver"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self) -> list[Arrival]:
        """What came since the last call."""
        with urllib.request.urlopen(f"{self.url}/arrivals", timeout=10) as response:
            return [
                Arrival(name, datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp(), received)
                for name, moment, received in json.load(response)
            ]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class _Server(asyncio.Protocol):
    """Requests with a length and one at a time on a connection, as every client here sends them."""

    def __init__(self, arrivals: list[tuple[float, bytes]]) -> None:
        self._arrivals = arrivals
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = time.time()
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if not end or len(body) < int(length or 0):
            return
        self._buffer = b""
        response = b"{}"
        if head.startswith(b"POST /on-trigger "):
            self._arrivals.append((received, body))
        elif head.startswith(b"GET /arrivals "):
            response = json.dumps([_arrival(*arrival) for arrival in self._arrivals]).encode()
            self._arrivals.clear()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(response), response)
        )


def _arrival(received: float, body: bytes) -> tuple[str, str, float]:
    event = json.loads(body)
    return event["name"], event["metadata"]["fire_time"], received


async def _serve() -> None:
    arrivals: list[tuple[float, bytes]] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(arrivals), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
