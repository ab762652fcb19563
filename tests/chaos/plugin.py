"""
The plugin of the chaos run, in a process of its own; standard library only.

``python plugin.py PORT TALLY MARK``: writes a line to TALLY once the response to an event is on its way:
``["timer", fire time, moment]`` or ``["message", number, delivery, moment]``. MARK is for the process list.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Seconds that a message takes, so that kills hit some in the middle.
TAKES = 0.02


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.respond({"status": "ok"})

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if event["type"] == "timer":
            moment = event["metadata"]["fire_time"]
            ids = [task["task_id"] for task in event["payload"]["tasks"]]
            line: list[Any] = ["timer", moment, time.time()] if ids else []
        else:
            time.sleep(TAKES)  # the work of a plugin that blocks, in a thread of its own
            moment, ids = "", [f"message-{event['payload']}"]
            line = ["message", event["payload"], int(event["metadata"]["num_delivered"]), time.time()]
        self.respond({"task_results": [{"task_id": id, "status": 2, "result": moment} for id in ids]})
        if line:
            os.write(TALLY, json.dumps(line).encode() + b"\n")  # one write, so lines of threads don't mix

    def respond(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """The node was killed in the middle of a request: that is what this program is for."""


if __name__ == "__main__":
    TALLY = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
