"""
A task plugin behind HTTP, stdlib only: ``python task_plugin.py PORT``. It does what ``task.params`` say, as
``plugins/twisted/plugins/worker.py`` does, and answers each message with a result.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def respond(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.respond(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path == "/on-task":
            self.on_task(body["task"], body["event"])
        elif self.path == "/on-message":
            self.on_message(body["message"], body["event"])
        else:
            self.respond(404, {"path": self.path})

    def on_task(self, task: Any, event: Any) -> None:
        do = task["params"].get("do")
        if do == "raise":
            self.respond(500, {"error": "KeyError: 'symbol'"})
        elif do == "hang":
            time.sleep(1000)
        elif do == "dict":
            self.respond(200, {"rows": 3})
        else:
            self.respond(200, {"status": 2, "result": event["metadata"]["nodeID"]})

    def on_message(self, message: Any, event: Any) -> None:
        if message["data"] == "fail" and message["delivered"] == 1:
            self.respond(503, "not yet")
            return
        text = f"{message['data']!r} on {message['subject']}, delivery {message['delivered']}"
        self.respond(200, {"task_results": [{"task_id": "message", "status": 2, "result": text}]})

    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
