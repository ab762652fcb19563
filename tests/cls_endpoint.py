"""A CLS endpoint for tests, in a thread: it checks signatures and keeps what it has taken."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import lz4.block

from scf_log.config import Credentials
from scf_log.wire import _LogGroupList, authorization

#: Bytes that an upload may have before it is compressed.
MOST = 64 << 20
SECRETS = {"id": "key", "temporary": "temporary key"}


class Endpoint:
    """
    :ivar taken: entries, ``(microseconds, fields)``, in the order in which they came.
    :ivar faults: of the next uploads, called with the handler; true when one has ended the request.
    :ivar wrong: what was wrong with uploads.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[int, dict[str, str]]] = []
        self.sources: set[str] = set()
        self.tokens: set[str] = set()
        self.uploads: list[int] = []
        self.faults: list[Callable[[Any], bool]] = []
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with endpoint._lock:
                    fault = endpoint.faults.pop(0) if endpoint.faults else None
                if fault is not None and fault(self):
                    return
                text = endpoint._check(self)
                if text:
                    endpoint.wrong.append(text)
                    respond(self, 401, b'{"errorcode": "SignatureFailure", "errormessage": "x"}')
                else:
                    endpoint._take(body, self.headers.get("X-Cls-Token", ""))
                    respond(self, 200, b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _check(self, handler: Any) -> str:
        header = handler.headers.get("Authorization", "")
        match = re.search(r"q-ak=([^&]*)&q-sign-time=(\d+);(\d+)&", header)
        if match is None or match[1] not in SECRETS:
            return f"no signature: {header}"
        if not int(match[2]) <= time.time() <= int(match[3]):
            return f"expired: {header}"
        parts = urlsplit(handler.path)
        params = {name: values[0] for name, values in parse_qs(parts.query).items()}
        signed = {"content-type": handler.headers["Content-Type"], "host": handler.headers["Host"]}
        credentials = Credentials(match[1], SECRETS[match[1]])
        if header != authorization(credentials, params, signed, int(match[2]) + 60):
            return f"wrong signature: {header}"
        if (parts.path, params, handler.headers["x-cls-compress-type"]) != (
            "/structuredlog",
            {"topic_id": "topic"},
            "lz4",
        ):
            return f"wrong request: {handler.path} {handler.headers}"
        return ""

    def _take(self, body: bytes, token: str) -> None:
        groups = _LogGroupList.FromString(lz4.block.decompress(body, uncompressed_size=MOST))
        with self._lock:
            self.tokens.add(token)
            self.uploads.append(sum(len(group.logs) for group in groups.logGroupList))
            for group in groups.logGroupList:
                self.sources.add(group.source)
                for log in group.logs:
                    self.taken.append((log.time, {one.key: one.value for one in log.contents}))


def respond(handler: Any, status: int, body: bytes) -> bool:
    """A fault, too, when its last two arguments are given."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def cut(handler: Any) -> bool:
    """The connection ends in the middle of the response."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    handler.close_connection = True
    return True
