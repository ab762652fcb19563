"""
A plugin in a process of its own: what a program in any language does to be one.

It serves two requests of the node, GET /health and POST /on-trigger. Whatever else callers ask the
node's gateway for reaches it as well, like GET /hello here. Standard library only.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADDRESS = ("127.0.0.1", 9001)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, so that an event costs no new one

    def do_GET(self) -> None:
        if self.path == "/health":
            self.respond(200, {"status": "ok"})
        elif self.path == "/hello":
            self.respond(200, {"message": f"hello {self.headers['X-Forwarded-For']}"})
        else:
            self.respond(404, {"message": "no such path"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/on-trigger":
            self.respond(200, on_trigger(json.loads(body)))
        else:
            self.respond(404, {"message": "no such path"})

    def respond(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each request would drown the plugin's own, which are in the node's log."""


def on_trigger(event: dict[str, Any]) -> dict[str, Any]:
    """Act on a timer event: take its tasks, say what became of each."""
    tasks = [task for task in event["payload"]["tasks"] if not task.get("invalid")]
    names = [task["task_id"] for task in tasks]
    print(f"{event['name']} at {event['metadata']['fire_time']}: {', '.join(names)}")
    return {"task_results": [{"task_id": name, "status": 2, "result": "done"} for name in names]}


if __name__ == "__main__":
    ThreadingHTTPServer(ADDRESS, Handler).serve_forever()
