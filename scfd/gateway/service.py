"""The gateway as a service: it listens, looks after deadlines, and waits for responses before it stops."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from scfd.config import GatewaySettings, TlsSettings
from scfd.deferreds import from_asyncio
from scfd.errors import StartupError
from scfd.http1.contract import Backend
from scfd.http1.front import RESERVE, Front
from scfd.http1.server import IDLE_GRACE, ServerConnection
from scfd.interfaces import IDrainable
from scfd.listen import BACKLOG, bind

if TYPE_CHECKING:
    import ssl

_log = Logger(namespace="scfd.gateway")

#: Seconds from one look at the deadlines to the next: 0.1 ms of work for 1,000 connections.
_PERIOD = 0.1
#: Files that the rest of the node has open, at the most.
_OTHER_FILES = 200
#: What OpenSSL says of a key of the same kind, and of another kind.
_NOT_A_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


@implementer(IDrainable)
class Gateway(Service):
    """:param settings: where it listens, and with which certificate."""

    def __init__(self, settings: GatewaySettings, front: Front, backend: Backend, reactor: Any) -> None:
        self._settings = settings
        self._front = front
        self._backend = backend
        self._server: asyncio.Server | None = None
        self._looking = LoopingCall(self._look_after_safely)
        self._looking.clock = reactor
        front.on_first = self._begin_looking
        self._clock = front.clock
        self._draining: Deferred[None] | None = None
        self._drained_from = 0.0

    def startService(self) -> Deferred[None]:
        """:raises scfd.errors.StartupError: (the Deferred) when the address can't be listened on."""
        super().startService()
        return from_asyncio(self._start())

    async def _start(self) -> None:
        settings = self._settings
        allow_descriptors(settings.max_connections + RESERVE + settings.pool_size + _OTHER_FILES)
        context = server_context(settings.tls) if settings.tls is not None else None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ServerConnection(self._front),
            sock=bind("gateway.listen", settings.listen),
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=settings.header_timeout if context is not None else None,
        )
        tls = "" if context is None else ", with TLS"
        _log.info("listening on {address}{tls}", address=str(settings.listen), tls=tls)

    def _begin_looking(self) -> None:
        if not self._looking.running:
            self._looking.start(_PERIOD, now=False)

    def _look_after_safely(self) -> None:
        try:
            self.look_after()
        except Exception:
            # A call that fails once is never made again, and without deadlines nothing bounds a connection.
            _log.failure("the deadlines of connections could not be looked after")
        if self._looking.running and not self._front.connections and self._draining is None:
            # Ten looks a second would be three quarters of what an idle node does.
            self._looking.stop()

    def look_after(self) -> None:
        """See to deadlines, and whether the gateway has drained."""
        self._front.expire()
        if self._draining is None or self._clock.seconds() < self._drained_from:
            return
        if not self._front.busy():
            draining, self._draining = self._draining, None
            draining.callback(None)

    def drain(self) -> Deferred[None]:
        """
        Take no new work, and wait for the responses under way: see `IDrainable`. The port stays open
        meanwhile, so that ``/health`` can say that the node is stopping.
        """
        self._front.draining = True
        lately = any(connection.used_lately for connection in self._front.connections)
        self._drained_from = self._clock.seconds() + (IDLE_GRACE if lately else 0.0)
        draining: Deferred[None] = Deferred(self._stop_draining)
        self._draining = draining
        self._begin_looking()
        self.look_after()
        return draining

    def _stop_draining(self, _: object) -> None:
        self._draining = None

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._looking.running:
            self._looking.stop()
        if self._server is not None:
            self._server.close()
        for connection in list(self._front.connections):
            connection.stop()
        self._backend.close()
        return succeed(None)


def allow_descriptors(needed: int) -> None:
    """
    Raise this process's limit of open files (often 1,024, of which the callers alone may take 1,064).

    Without descriptors no connection is accepted any more, those for /health included.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warn(
            "gateway: {allowed} files may be open, and with max_connections and pool_size as they are there "
            "may be {needed}; raise `ulimit -Hn`, or lower them",
            allowed=allowed,
            needed=needed,
        )


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """
    :returns: TLS 1.2 and newer, HTTP/1.1 only.
    :raises StartupError: when the files can't be used.
    """
    import ssl  # OpenSSL: 40 ms and 12 MiB that a gateway without TLS saves

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for key, path in (("cert", settings.cert), ("key", settings.key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise StartupError(
                f"gateway.tls.{key}: can't read {path}: {error.strerror}; expected a PEM file"
            ) from error
    try:
        # Asked for the key's password, OpenSSL would read the terminal.
        context.load_cert_chain(settings.cert, settings.key, password=lambda: "")
    except ssl.SSLError as error:
        raise StartupError(f"gateway.tls: {_reason(error, settings)}") from error
    return context


def _reason(error: ssl.SSLError, settings: TlsSettings) -> str:
    if error.reason in _NOT_A_PAIR:
        return f"the key {settings.key} is not the one of the certificate {settings.cert}"
    why = f" ({error.reason})" if error.reason else ""
    return (
        f"{settings.cert} and {settings.key} can't be used{why}; expected PEM files with a certificate "
        "chain, and with its key, which has no password"
    )
