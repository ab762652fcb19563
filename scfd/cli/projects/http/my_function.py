"""my-function: an HTTP server that scfd asks to handle tasks. Begin at `on_task`; standard library only."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def on_task(task: dict[str, Any]) -> object:
    """
    Handle a task.

    :param task: as the control plane has it; ``params`` is the value of its ``task_params``.
    :returns: its result, any JSON value; when this fails, the task has failed.
    """
    text = f"{os.environ.get('GREETING', 'Hello')}, {task['params']['name']}"
    print(f"{text}\n", end="")  # as one piece: tasks are handled side by side
    return text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, so that a task costs no new one

    def do_GET(self) -> None:
        self.respond(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/on-task":
            self.respond(404, {})
            return
        try:
            result = on_task(json.loads(body)["task"])
        except Exception as error:
            self.respond(500, repr(error))
        else:
            self.respond(200, result)

    def respond(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """What it prints is in the node's log; a line for each request would drown that."""


def serve(port: int) -> ThreadingHTTPServer:
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serve(9001).serve_forever()
