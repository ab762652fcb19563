"""What a native plugin serves: its resource gets requests through the same path as a plugin's process."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.web.resource import IResource

from scfd.deferreds import from_asyncio
from scfd.gateway.routes import LocalResponse
from scfd.http1.client import ClientConnection, Connector
from scfd.http1.contract import Caller, Request, Responder
from scfd.http1.forward import Forwarder
from scfd.interfaces import IAdapter
from scfd.web import LimitedRequest, QuietSite, Response

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
                return LocalResponse(caller, request, _no_such_path, limit=None)
            self._forwarder = self._make(resource)
        return self._forwarder.responder(caller, request, identity)

    def close(self) -> None:
        if self._forwarder is not None:
            self._forwarder.close()


def _no_such_path(headers: object, body: bytes) -> Response:
    return Response.json({"message": "no such path"}, 404)


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
    """

    requestFactory = PluginRequest

    def __init__(self, resource: IResource, max_body: int) -> None:
        super().__init__(resource, max_body=max_body, forms=True)


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
