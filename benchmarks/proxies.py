"""
What else forwards HTTP, for comparison: nginx, and the two proxies that one would write in Python.

``python -m benchmarks.proxies aiohttp PORT BACKEND-PORT`` or ``twisted PORT BACKEND-PORT`` is one until it is
killed. Both read a response whole before they pass it on, which for responses of this size is the fastest
that their libraries offer, and add the headers that the gateway adds.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

#: One worker, as all others are one process. Nothing is written to files, and callers' connections are kept.
NGINX = """
worker_processes 1; daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_buffer_size 128k; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  {content}
}}
"""
PROXY = """
  upstream backend {{ server 127.0.0.1:{backend}; {upstream} }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://backend; proxy_buffers 8 32k; {location}
      proxy_set_header Host $host; proxy_set_header gateway-tag forward;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
    }}
  }}
"""
#: nginx makes a connection to the backend for each request, unless it is told this.
KEPT = {
    "upstream": "keepalive 256; keepalive_requests 1000000000;",
    "location": 'proxy_http_version 1.1; proxy_set_header Connection "";',
}
PLAIN = {"upstream": "", "location": ""}
BACKEND = """
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location /small {{ return 200 "{small}"; }}
    location /large {{ root .; sendfile on; }}
    # `return` alone responds before it has read a body; what is behind a proxy_pass is asked after that.
    location /reads {{
      client_max_body_size 1m; proxy_pass http://self/; proxy_pass_request_body off; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Content-Length "";
    }}
    location / {{ return 200; }}
  }}
  upstream self {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 1000000000; }}
"""

_HOP_BY_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"))


async def aiohttp_proxy(port: int, backend: int) -> None:
    from aiohttp import ClientSession, TCPConnector, web

    session = ClientSession(connector=TCPConnector(limit=0), auto_decompress=False)

    async def forward(request: web.Request) -> web.Response:
        headers = request.headers.copy()
        for name in _HOP_BY_HOP & {name.lower() for name in headers}:
            headers.popall(name)
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = request.scheme
        headers["X-Forwarded-Host"] = request.host
        headers["gateway-tag"] = "forward"
        url = f"http://127.0.0.1:{backend}{request.raw_path}"
        body = await request.read() if request.can_read_body else None
        async with session.request(request.method, url, headers=headers, data=body) as response:
            kept = [
                (name, value) for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP
            ]
            return web.Response(status=response.status, headers=kept, body=await response.read())

    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


def twisted_proxy(port: int, backend: int) -> None:
    from io import BytesIO

    from twisted.internet import reactor
    from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET, Request, Site

    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 256
    agent = Agent(reactor, pool=pool)

    class Proxy(Resource):
        isLeaf = True

        def render(self, request: Request) -> int:
            assert request.content is not None
            body = request.content.read()
            headers = request.requestHeaders.copy()
            headers.removeHeader(b"content-length")
            headers.setRawHeaders(b"X-Forwarded-For", [request.getClientAddress().host.encode()])
            headers.setRawHeaders(b"X-Forwarded-Proto", [b"http"])
            headers.setRawHeaders(b"X-Forwarded-Host", [request.getHeader(b"host") or b""])
            headers.setRawHeaders(b"gateway-tag", [b"forward"])
            agent.request(
                request.method,
                b"http://127.0.0.1:%d%b" % (backend, request.uri),
                headers,
                FileBodyProducer(BytesIO(body)) if body else None,
            ).addCallback(self.answer, request).addErrback(lambda failure: request.loseConnection())
            return NOT_DONE_YET

        def answer(self, response: Any, request: Request) -> Any:
            request.setResponseCode(response.code, response.phrase)
            for name, values in response.headers.getAllRawHeaders():
                request.responseHeaders.setRawHeaders(name, values)
            return readBody(response).addCallback(self.finish, request)

        def finish(self, body: bytes, request: Request) -> None:
            request.setHeader(b"Content-Length", b"%d" % len(body))
            request.write(body)
            request.finish()

    class QuietSite(Site):
        def log(self, request: Any) -> None:
            """Not even to nowhere: it would cost half of the throughput."""

    at: Any = reactor
    at.listenTCP(port, QuietSite(Proxy()), backlog=1024, interface="127.0.0.1")
    at.run()


def main() -> None:
    name, port, backend = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if name == "aiohttp":
        asyncio.run(aiohttp_proxy(port, backend))
    else:
        twisted_proxy(port, backend)


if __name__ == "__main__":
    main()
