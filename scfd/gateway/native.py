"""What a native plugin serves: its resource gets requests through the same path as a plugin's process."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.web.resource import IResource

from scfd.deferreds import from_asyncio
from scfd.gateway.routes import LocalResponse, no_such_path
from scfd.http1.client import ClientConnection
from scfd.http1.contract import Caller, Request, Responder
from scfd.http1.forward import Forwarder
from scfd.http1.pool import Connector
from scfd.interfaces import IAdapter
from scfd.site import LimitedRequest, QuietSite

#: Bytes of headers that the gateway adds, at the most, besides the Host.
_ADDED = 4096
#: Name or address, and perhaps a port (RFC 9110, section 7.2).
_HOST = re.compile(rb"(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?")


class NativeBackend:
    """
    A `scfd.http1.contract.Backend`: forwards to the resource of a native plugin; 404 where it has none.

    The plugin is asked at each request until it has one: the gateway listens before the plugin is
    initialised.

    :param forwarder: makes a `Forwarder` to a resource.
    """

    def __init__(self, adapter: IAdapter, forwarder: Callable[[IResource], Forwarder]) -> None:
        self._adapter = adapter
        self._make = forwarder
        self._forwarder: Forwarder | None = None

    def responder(self, caller: Caller, request: Request, identity: bytes) -> Responder:
        if self._forwarder is None:
            resource = self._adapter.web_resource()
            if resource is None:
                return LocalResponse(caller, request, no_such_path, limit=None)
            self._forwarder = self._make(resource)
        return self._forwarder.responder(caller, request, identity)

    def close(self) -> None:
        if self._forwarder is not None:
            self._forwarder.close()


class PluginRequest(LimitedRequest):
    """A request that knows where its caller has sent it, which the sockets in between do not."""

    def process(self) -> None:
        address = _HOST.fullmatch(self.getHeader(b"host") or b"")
        if address is not None:
            secure = self.getHeader(b"x-forwarded-proto") == b"https"
            name, port = address.groups()
            self.setHost(name, int(port or (443 if secure else 80)), secure)
        super().process()


class PluginSite(QuietSite):
    """
    Serves the resource of a native plugin.

    :param max_body: bytes.
    :param max_header: bytes of request line and headers, as the gateway has let them in.
    """

    requestFactory = PluginRequest

    def __init__(self, resource: IResource, max_body: int, max_header: int) -> None:
        super().__init__(resource, max_body=max_body, forms=True)
        self._max_header = max_header

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Let in what the gateway has let in, and added: Twisted's own limits are 16 KiB and 500 headers."""
        channel: Any = super().buildProtocol(addr)
        http = channel._channel  # of the protocol that would change to HTTP/2
        http.MAX_LENGTH = self._max_header + _ADDED
        # The Host is there twice: X-Forwarded-Host has it, too.
        http.totalHeadersSize = 2 * self._max_header + _ADDED
        http.maxHeaders = self._max_header
        return channel


def site_connector(site: IProtocolFactory, reactor: Any) -> Connector:
    """
    :param site: a server in this process.
    :returns: for a `Pool`: its connections are pairs of sockets, and need no port.
    """

    async def connect(factory: Callable[[], ClientConnection]) -> Any:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        with theirs:  # the reactor takes a copy of its number
            reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, site)
        return await asyncio.get_running_loop().create_connection(factory, sock=ours)

    def connector(factory: Callable[[], ClientConnection]) -> Deferred[Any]:
        return from_asyncio(connect(factory))

    return connector
