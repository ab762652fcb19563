"""The client side of HTTP/1.1 that the gateway and the HTTP adapter share, on asyncio's own transports."""
