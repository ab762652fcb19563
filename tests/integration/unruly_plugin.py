"""
A plugin that behaves badly: stdlib only, as a plugin in any language would be.

``python unruly_plugin.py PORT [FLAW…]`` answers every request with ``{}``. Flaws: ``deaf`` takes no notice
of SIGTERM, ``daemon`` starts a process that leaves its process group, ``flood`` prints for ever, and never
the end of a line, ``single`` serves one connection at a time, until that is closed.
"""

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


def flood() -> None:
    while True:
        os.write(1, b"x" * 4096)


if __name__ == "__main__":
    flaws = sys.argv[2:]
    if "deaf" in flaws:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "daemon" in flaws:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(f"{os.environ.get('GREETING')} from {os.getcwd()}", flush=True)
    if "flood" in flaws:
        threading.Thread(target=flood, daemon=True).start()
    server = HTTPServer if "single" in flaws else ThreadingHTTPServer
    server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
