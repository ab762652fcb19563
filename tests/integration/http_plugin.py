"""
A plugin in a process of its own, for the tests: stdlib only, as a plugin in any language would be.

``python http_plugin.py PORT EVENTS-FILE``: writes each event to the file, a line of JSON each, and
answers with success for every task of it. Other requests are answered with what they looked like. While its
folder has a file called ``broken``, events get status 500.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer({"status": "ok"})
        else:
            self.answer({"method": self.command, "path": self.path, "headers": self.headers.items()})

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/on-trigger" and Path("broken").exists():
            self.send_error(500, explain="it is broken")
        elif self.path == "/on-trigger":
            event = json.loads(body)
            with open(sys.argv[2], "a", encoding="utf-8") as events:
                events.write(json.dumps(event) + "\n")
            self.answer(
                {
                    "task_results": [
                        {"task_id": t["task_id"], "status": 2, "result": ""} for t in tasks_of(event)
                    ]
                }
            )
        else:
            self.answer({"method": self.command, "path": self.path, "body": body.decode()})

    def log_message(self, *arguments: object) -> None:
        pass


def tasks_of(event: Any) -> Any:
    return event["payload"]["tasks"] if event["type"] == "timer" else event["tasks"]


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("plugin is up", flush=True)
    server.serve_forever()
