"""The HTTP client of the control plane. It imports treq, and TLS with the first request on https."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from scfd.reactor import allow_tls

#: Idle connections kept open to one peer.
_POOL_SIZE = 32
#: Seconds that an idle connection is kept: less than what servers commonly keep theirs (5 s), so
#: that a request is not sent into a connection that is just being closed.
_POOL_IDLE = 4
#: Seconds that a connection may take to be made.
_CONNECT_TIMEOUT = 5.0


def http_client(reactor: Any) -> HTTPClient:
    """A treq client with a connection pool of its own."""
    return HTTPClient(agent(reactor))


def agent(reactor: Any) -> Agent:
    """An agent with a connection pool of its own."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = _POOL_SIZE
    pool.cachedConnectionTimeout = _POOL_IDLE  # seconds
    made: Agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor), pool)
    return made


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """What Agent has of its own, which would import pyOpenSSL for http as well: 130 ms and 12 MiB."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:  # noqa: N802 - of the interface
        host = uri.host.decode("ascii")
        plain: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, uri.port, _CONNECT_TIMEOUT)
        if uri.scheme == b"http":
            return plain
        if uri.scheme != b"https":
            raise SchemeNotSupported(f"found scheme {uri.scheme!r}; expected http or https")
        return _TlsEndpoint(plain, host)


@implementer(IStreamClientEndpoint)
class _TlsEndpoint:
    """:raises SchemeNotSupported: when pyOpenSSL is not installed."""

    def __init__(self, plain: IStreamClientEndpoint, host: str) -> None:
        allow_tls()
        try:
            from twisted.internet.ssl import optionsForClientTLS, platformTrust
            from twisted.protocols.tls import TLSMemoryBIOFactory
        except ImportError as error:
            text = f"https needs pyOpenSSL, service-identity: {error}; expected them installed, or http"
            raise SchemeNotSupported(text) from None
        self._plain = plain
        options = optionsForClientTLS(host, trustRoot=platformTrust())
        self._wrapped = lambda factory: TLSMemoryBIOFactory(options, True, factory)

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """:returns: a Deferred of the protocol that speaks inside of TLS."""
        connected: Deferred[Any] = self._plain.connect(self._wrapped(factory))
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)
