"""Sends probes to a node, as a production server does, so that it learns the control plane's address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.logger import Logger
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from scfd.config import Address
from scfd.errors import describe
from scfd.events.wire import from_json, rfc3339, to_json

# Seconds.
PERIOD = 5.0
EAGER_PERIOD = 1.0  # until the node's first response: it starts at the same time, and waits for the address
TIMEOUT = 5.0

_log = Logger(namespace="scfd.dev.control_plane")


class Prober(Service):
    """
    Probes one node every few seconds, also after failures.

    :param node_url: the node's gateway, such as ``http://127.0.0.1:9000``.
    :param own: where the node reaches the control plane.
    :param clock: an `IReactorTime`.
    :param now: the time in seconds since the epoch.
    :param protocol: the generation; 3 also names the deployed services.
    :param token: the node's ``gateway.probe_token``; empty for none.
    """

    def __init__(
        self,
        node_url: str,
        own: Address,
        agent: IAgent,
        clock: Any,
        now: Callable[[], float],
        token: str = "",
        protocol: str = "1",
    ) -> None:
        self._protocol = protocol
        self._url = f"{node_url.rstrip('/')}/probe".encode()
        self._own = own
        self._agent = agent
        self._clock = clock
        self._now = now
        self._headers = Headers({b"Content-Type": [b"application/json"]})
        if token:
            self._headers.addRawHeader(b"Authorization", b"Bearer " + token.encode())
        self._count = 0
        self._responded: bool | None = None  # None: never yet
        self._next: Any = None
        self._probing: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._start_probe()

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when no probe is under way."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._probing.cancel()
        return self._probing

    def _start_probe(self) -> None:
        self._probing = Deferred.fromCoroutine(self._probe())

    async def _probe(self) -> None:
        try:
            await Deferred.fromCoroutine(self._exchange()).addTimeout(TIMEOUT, self._clock, _timed_out)
        except Exception as error:
            if self.running:  # else it was interrupted
                self._note_failure(str(error) if isinstance(error, _NotWellError) else describe(error))
        else:
            self._note_success()
        if self.running:
            period = EAGER_PERIOD if self._responded is None else PERIOD
            self._next = self._clock.callLater(period, self._start_probe)

    async def _exchange(self) -> None:
        """:raises _NotWellError: the response is not that of a well node."""
        body = _Bytes(to_json(self._message()))
        response = await self._agent.request(b"POST", self._url, self._headers, body)
        reply_body = await readBody(response)
        if response.code != 200:
            raise _NotWellError(f"HTTP status {response.code}")
        reply = from_json(reply_body)
        if not isinstance(reply, dict) or reply.get("success") is not True:
            reason = reply.get("message") if isinstance(reply, dict) else None
            raise _NotWellError(f"it says: {reason}" if reason else "its response is not that of a probe")

    def _message(self) -> dict[str, Any]:
        self._count += 1
        host, port, url = self._own.host, self._own.port, self._own.url
        message: dict[str, Any] = {
            "action": "keepalive",
            "source": "keepalive_probe",
            "request_id": f"keepalive_{self._count}",
            "timestamp": rfc3339(self._now()),
            "server_ip": host,
            "server_port": port,
            "moox_server_url": url,
            "storage_server_url": "",
            "data": {},
        }
        if self._protocol == "3":
            service = {"service_name": "service_gateway", "protocol": "http", "host": host}
            deployment = {**service, "port": port, "base_url": url, "status": "running"}
            message["service_deployments"] = {"service_gateway": deployment}
            own = {"internal_ip": host, "public_ip": host}
            message["data"] = {**own, "prober_type": "keepalive", "probe_time": message["timestamp"]}
        return message

    def _note_failure(self, reason: str) -> None:
        if self._responded:
            self._responded = False
            _log.warn("the node stopped responding at {url}: {reason}", url=self._url.decode(), reason=reason)
        else:
            _log.debug("no response to a probe yet: {reason}", reason=reason)

    def _note_success(self) -> None:
        if self._responded is False:
            _log.info("the node responds again at {url}", url=self._url.decode())
        self._responded = True


class _NotWellError(Exception):
    """Why a probe failed, in a few words."""


def _timed_out(_: object, seconds: float) -> NoReturn:
    # Whatever the failure is: an Agent that is cancelled fails in ways of its own.
    raise _NotWellError(f"no response within {seconds:g} s")


@implementer(IBodyProducer)
@define
class _Bytes:
    """A request body that is known as a whole."""

    body: bytes

    @property
    def length(self) -> int:
        return len(self.body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written already."""

    def resumeProducing(self) -> None:
        """All is written already."""

    def stopProducing(self) -> None:
        """All is written already."""
