"""
A reverse proxy for HTTP/1.1 on asyncio's own transports: reads requests, forwards them, passes
responses back.

It imports nothing of scfd. Its user says who responds (`contract.Backend`), what limits hold, and which
headers mark a forwarded request; `front.Front` holds these together, and each accepted socket gets a
`server.ServerConnection`. The client side (`client`, `pool`) is also of use alone.
"""
