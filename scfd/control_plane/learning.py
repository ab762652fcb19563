"""Calls of the control plane, in the form of its generation, which the node learns from the responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from scfd.control_plane import generations
from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.events.long_json import LONG

_log = Logger(namespace="scfd.control_plane")

HEARTBEAT = "/cloudnode/ReportHeartbeatInner"
#: Seconds to wait for a response that shows which generation a server speaks now.
CONFIRM_TIMEOUT = 30.0
#: Addresses whose generation is remembered.
_REMEMBERED = 16


@frozen
class Exchange:
    """
    A call that got a response.

    :ivar generation: the one by whose rules the response is to be read.
    :ivar value: the body as JSON; None when it is not JSON.
    :ivar proven: whether the server has been seen to speak it, or the config says that it does.
    """

    generation: int
    response: ServerResponse
    value: Any
    proven: bool


class LearningClient:
    """
    Heartbeat and reports share one, and with it what has been learned.

    :param protocol: ``auto``, or the generation to speak whatever the responses are like.
    :param prefix: first part of the paths; see `scfd.control_plane.generations.path`.
    :ivar on_doubt: called when a server may have become another; is to make a heartbeat soon.
    :param signed: whether requests are signed. Servers of generation 2 and 3 take no others, so the
        newest generation is tried first.
    """

    def __init__(
        self,
        client: ControlPlaneClient,
        reactor: Any,
        protocol: str = "auto",
        prefix: str = generations.PREFIXES[1],
        signed: bool = False,
    ) -> None:
        self._client = client
        self._reactor = reactor
        self._fixed = None if protocol == "auto" else int(protocol)
        self._prefix = prefix
        self._first = 3 if signed or prefix == generations.PREFIXES[3] else 1
        self._learned: dict[str, int] = {}
        self._waiting: list[Deferred[None]] = []
        self.on_doubt: Callable[[], object] = lambda: None
        self._contradicted = False

    def generation(self, server: str) -> int:
        """The generation whose form the next request to this base URL gets."""
        return self._fixed or self._learned.get(server, self._first)

    async def call(self, server: str, method: str, form: Callable[[int], object], timeout: float) -> Exchange:
        """
        Make a call. When the response shows that the server speaks another generation, or may do so, the
        call is made again in that one's form at once.

        :param server: base URL.
        :param method: service and method, such as ``/cloudnode/ReportHeartbeatInner``.
        :param form: makes the request's body for a generation.
        :param timeout: seconds for each request.
        """
        asked: int | None = self.generation(server)
        first: Exchange | None = None
        tried: list[int] = []
        while asked is not None:
            exchange, spoken = await self._ask(server, method, asked, form(asked), timeout)
            tried.append(asked)
            if spoken is not None:
                self._note(server, spoken)
            if asked == 1 and method != HEARTBEAT and self._learned.get(server) == 1 and _is_404(exchange):
                # A refusal, or the server speaks another generation now. A heartbeat finds out: this call
                # would be made twice if it was repeated in another form.
                if not await self._confirmed(server):
                    return evolve(exchange, proven=False)
                asked = self.generation(server)
            else:
                asked = self._next(asked, spoken, exchange)
            if asked in tried:
                asked = None
            # A response that proves nothing does not replace the one in the form that was expected.
            if first is None or spoken is not None:
                first = exchange
        assert first is not None, "at least one request has been made"
        return first

    async def _ask(
        self, server: str, method: str, asked: int, body: object, timeout: float
    ) -> tuple[Exchange, int | None]:
        url = server + generations.path(asked, method, self._prefix)
        response = await self._client.post(url, body, timeout)
        if len(response.body) < LONG:
            value = generations.decoded(response)
        else:
            pool = self._reactor.getThreadPool()
            value = await deferToThreadPool(self._reactor, pool, generations.decoded, response)
        spoken = generations.spoken(asked, value, response)
        proven = self._fixed is not None or server in self._learned or spoken is not None
        return Exchange(self._fixed or spoken or asked, response, value, proven), spoken

    async def _confirmed(self, server: str) -> bool:
        """:returns: whether a response that came from now on proves what the server speaks."""
        proof: Deferred[None] = Deferred()
        self._waiting.append(proof)
        self.on_doubt()
        try:
            await proof.addTimeout(CONFIRM_TIMEOUT, self._reactor)
        except TimeoutError:
            return False
        finally:
            self._waiting = [other for other in self._waiting if other is not proof]
        return True

    def _next(self, asked: int, spoken: int | None, exchange: Exchange) -> int | None:
        """:returns: the generation whose form to try now; None when the response stands."""
        if self._fixed is not None:
            return None
        if spoken is not None:
            accepted = generations.is_success(exchange.value, exchange.response)
            return None if spoken == asked or accepted else spoken
        info = generations.return_info(exchange.value, exchange.response)
        if exchange.response.status == 404 or generations.may_be_generation_1(info):
            return 3 if asked == 1 else 1  # perhaps the path is that of the other generations
        return None

    def _note(self, server: str, spoken: int) -> None:
        if self._fixed is not None:
            if spoken != self._fixed and not self._contradicted:
                self._contradicted = True
                _log.warn(
                    "heartbeat.protocol is {fixed}, but {server} responds as generation {spoken}:"
                    " expected auto or {spoken}",
                    fixed=self._fixed,
                    server=server,
                    spoken=spoken,
                )
            return
        if self._learned.pop(server, None) != spoken:
            _log.info("{server} speaks generation {spoken} of the protocol", server=server, spoken=spoken)
        self._learned[server] = spoken
        if len(self._learned) > _REMEMBERED:
            del self._learned[next(iter(self._learned))]
        waiting, self._waiting = self._waiting, []
        for proof in waiting:
            proof.callback(None)


def _is_404(exchange: Exchange) -> bool:
    return exchange.response.status == 404
