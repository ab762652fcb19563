"""Tests for scfd.cli.table, and for scfd.cli.remote against what is no node."""

from __future__ import annotations

import io
import json
import threading
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

from twisted.trial.unittest import SynchronousTestCase

from scfd.cli import events
from scfd.cli import main as command
from scfd.cli.remote import Node
from scfd.cli.table import duration, table


class TableTests(SynchronousTestCase):
    def test_columns(self) -> None:
        self.assertEqual(
            table(("A", "LONG"), [("xyz", 1), ("", None), ("a\x1b[31m\nb", "ü")]),
            ["A            LONG", "xyz          1", "", "a\\x1b[31m b  ü"],
        )
        self.assertEqual(table(("A",), []), [])

    def test_durations(self) -> None:
        for seconds, text in (
            (None, ""),
            (0, "0.0 ms"),
            (0.0123, "12 ms"),
            (1.25, "1.2 s"),
            (119, "119 s"),
            (600, "10 min"),
            (10_000, "2.8 h"),
            (1_000_000, "12 d"),
        ):
            self.assertEqual(duration(seconds), text)


class RemoteTests(SynchronousTestCase):
    def command(self, *arguments: str) -> tuple[int, str]:
        """The exit status and what is on standard error."""
        errors = io.StringIO()
        with redirect_stderr(errors), redirect_stdout(io.StringIO()):
            status = command.main(arguments)
        return status, errors.getvalue()

    def serve(self, status: int, body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def test_what_is_no_node(self) -> None:
        for status, body, said in (
            (404, b"", "HTTP status 404"),
            (401, b"", "asks for its admin.token"),
            (403, b"", "one of its admin.hosts"),
            (413, b"", "less than 1 MiB"),
            (200, b"<html>", "no node at"),
            (200, b"[]", "not the admin endpoint of a node"),
            (200, b"{}", "not the admin endpoint of a node"),
        ):
            with self.subTest(body=body):
                ended, errors = self.command("status", "--url", self.serve(status, body))
                self.assertEqual((ended, said in errors, errors.count("\n")), (3, True, 1), errors)

    def test_a_token_is_never_shown(self) -> None:
        url = self.serve(401, b"")
        for token in ("s3cret\nx", "s3cret\0"):
            ended, errors = self.command("status", "--url", url, "--token", token)
            self.assertEqual((ended, errors.count("\n"), "s3cret" in errors), (1, 1, False), errors)
        ended, errors = self.command("status", "--url", url, "--token", "gehörig€")
        self.assertEqual((ended, "is not its admin.token" in errors), (3, True), errors)

    def test_payloads_that_are_no_json(self) -> None:
        for payload in ("{x", "NaN", "1e999", "[" * 100_000, "@nofile", "\udcff"):
            ended, errors = self.command("fire", "t", "--url", "http://127.0.0.1:1", f"--payload={payload}")
            self.assertEqual((ended, errors.count("\n")), (1, 1), errors)
            self.assertTrue(errors.startswith("--payload: "), errors)

    def test_interrupted(self) -> None:
        """What would have ended by itself has not done so."""

        def call(*_: object, **__: object) -> NoReturn:
            raise KeyboardInterrupt

        self.patch(Node, "call", call)
        for arguments, status in ((("fire", "t"), 130), (("drain",), 130), (("top",), 0)):
            self.assertEqual(self.command(*arguments, "--url", "http://127.0.0.1:1"), (status, ""))

    def test_following(self) -> None:
        """Each event once, the oldest first, those under way when they have ended; Ctrl-C is no failure."""

        def row(number: int) -> dict[str, Any]:
            return {"number": number, "id": f"e{number}"}

        asked: list[dict[str, Any]] = []
        found = [[row(0), row(2), row(1)], [], [row(3)]]

        def call(_: Node, method: str, **params: Any) -> Any:
            asked.append(params)
            if not found:
                raise KeyboardInterrupt
            return found.pop(0)

        self.patch(Node, "call", call)
        self.patch(events, "FOLLOW_INTERVAL", 0)
        output = io.StringIO()
        with redirect_stdout(output):
            status = command.main(("events", "--follow", "--json", "--url", "http://127.0.0.1:1"))
        self.assertEqual(status, 0)
        self.assertEqual(
            [json.loads(line)["id"] for line in output.getvalue().splitlines()], ["e1", "e2", "e3"]
        )
        self.assertEqual([one.get("after") for one in asked], [None, 2, 2, 3])

    def test_addresses_that_are_none(self) -> None:
        for url in ("http://[::1", "http://127.0.0.1:x", "http://"):
            ended, errors = self.command("status", "--url", url)
            self.assertEqual((ended, errors.count("\n")), (3, 1), errors)

    def test_what_the_node_refuses(self) -> None:
        url = self.serve(200, b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no such"}}')
        self.assertEqual(self.command("pause", "x", "--url", url), (1, "no such\n"))

    def test_a_level_alone_is_that_of_all(self) -> None:
        asked: list[dict[str, Any]] = []

        def call(node: object, method: str, **parameters: Any) -> dict[str, Any]:
            asked.append(parameters)
            return {"default": "info", "namespaces": {}}

        self.patch(Node, "call", call)
        for given in ((), ("WARN",), ("default",), ("nats",), ("nats", "default")):
            self.assertEqual(self.command("log-level", *given, "--url", "http://127.0.0.1:1"), (0, ""))
        self.assertEqual(
            [(one["namespace"], one["level"]) for one in asked],
            [("", None), ("", "WARN"), ("", "default"), ("nats", None), ("nats", "default")],
        )

    def test_which_node_is_meant(self) -> None:
        here = Path.cwd()
        self.assertFalse((here / "etc").exists() or (here / "config.yaml").exists())
        self.assertIn("--config FILE, or its --url", self.command("status")[1])
        self.assertIn("expected such as http://", self.command("status", "--url", "localhost:9002")[1])
        off = Path(self.mktemp())
        off.write_text('admin: {listen: ""}\n')
        self.assertIn("turned off", self.command("status", "--config", str(off))[1])
