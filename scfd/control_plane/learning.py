"""Calls of the control plane, in the form of its generation, which the node learns from the responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, evolve, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from scfd.control_plane import generations
from scfd.control_plane.client import ControlPlaneClient, ServerResponse
from scfd.deferreds import in_thread
from scfd.events.long_json import LONG, without_collections

_log = Logger(namespace="scfd.control_plane")

HEARTBEAT = "/cloudnode/ReportHeartbeatInner"
#: Seconds to wait for a response that shows which generation a server speaks now.
CONFIRM_TIMEOUT = 30.0
#: Addresses whose generation is remembered.
_REMEMBERED = 16
#: So many changes of an address's generation in so many seconds are taken for several servers behind it.
_CHANGES, _CHANGES_PERIOD = 8, 60.0


@frozen
class Exchange:
    """
    A call that got a response.

    :ivar asked: the generation whose form the request had.
    :ivar generation: the one by whose rules the response is to be read.
    :ivar value: the body as JSON; None when it is not JSON.
    :ivar proven: whether the server has been seen to speak it, or the config says that it does.
    :ivar advice: what to look at, where the response fits a server that the request was not meant for.
    """

    asked: int
    generation: int
    response: ServerResponse
    value: Any
    proven: bool
    advice: str = ""


@define
class _Known:
    """
    :ivar changes: the moments, by the reactor's clock, at which it became another.
    :ivar mixed: whether it has been said that several servers are behind the address.
    """

    generation: int
    changes: list[float] = Factory(list)
    mixed: bool = False


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
        self._learned: dict[str, _Known] = {}
        self._waiting: dict[Deferred[int], str] = {}
        self.on_doubt: Callable[[], object] = lambda: None
        self._contradicted = False

    def generation(self, server: str) -> int:
        """The generation whose form the next request to this base URL gets."""
        known = self._learned.get(server)
        return self._fixed or (known.generation if known else self._first)

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
        best: Exchange | None = None
        tried: list[int] = []
        while asked is not None:
            exchange, spoken = await self._ask(server, method, asked, form(asked), timeout)
            tried.append(asked)
            if spoken is not None:
                self.note(server, spoken)
            is_404 = exchange.response.status == 404
            if is_404 and asked == 1 == self.generation(server) and exchange.proven and method != HEARTBEAT:
                # A refusal, or the server speaks another generation now. A heartbeat finds out: this call
                # would be made twice if it was repeated in another form.
                asked = await self._confirmed(server)
                exchange = evolve(exchange, proven=asked == 1)
            else:
                asked = self._next(asked, spoken, exchange)
            # One that proves nothing does not replace that in the form which was expected, but for the
            # one that asks for keys.
            if best is None or spoken is not None or exchange.response.status == 401:
                best = exchange
            if asked in tried:
                # A 404 and the trap: two servers take turns here, and each got the other one's form.
                turns = spoken is None and exchange.response.status != best.response.status
                asked = tried[-1] if turns and len(tried) == 2 else None
        assert best is not None, "at least one request has been made"
        return evolve(best, advice=self._advice(best))

    async def _ask(
        self, server: str, method: str, asked: int, body: object, timeout: float
    ) -> tuple[Exchange, int | None]:
        url = server + generations.path(asked, method, self._prefix)
        response = await self._client.post(url, body, timeout)
        if len(response.body) < LONG:
            value = generations.decoded(response)
        else:
            value = await in_thread(self._reactor, without_collections, generations.decoded, response)
        spoken = generations.spoken(asked, value, response)
        proven = self._fixed is not None or server in self._learned or spoken is not None
        return Exchange(asked, self._fixed or spoken or asked, response, value, proven), spoken

    async def _confirmed(self, server: str) -> int | None:
        """:returns: what the server speaks by the next response that proves it; None when none comes."""
        proof: Deferred[int] = Deferred()
        self._waiting[proof] = server
        self.on_doubt()
        try:
            return await proof.addTimeout(CONFIRM_TIMEOUT, self._reactor)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(proof, None)

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

    def _advice(self, best: Exchange) -> str:
        """Which server it probably is that responds in a form which says nothing about the call."""
        if self._prefix not in generations.PREFIXES.values():
            return "; expected heartbeat.api_prefix to be its own" if best.response.status == 404 else ""
        info = generations.return_info(best.value, best.response)
        if self._fixed not in (None, 1) and generations.may_be_generation_1(info):
            return "; probably a server of generation 1: expected heartbeat.protocol auto or 1"
        if best.response.status != 404:
            return ""
        if self._fixed == 1:
            return (
                "; probably a server of generation 2 or 3, whose paths begin with /api/service: expected "
                "heartbeat.protocol auto, 2 or 3, and heartbeat.auth"
            )
        return "; expected the address of a control plane, which has the node calls of its generation"

    def note(self, server: str, spoken: int) -> None:
        """A response has proven which generation a server speaks."""
        if self._fixed is not None:
            self._compare(server, spoken)
        else:
            self._learn(server, spoken)
        if self._fixed in (None, spoken):
            for proof in [proof for proof, asker in self._waiting.items() if asker == server]:
                del self._waiting[proof]
                proof.callback(spoken)

    def _compare(self, server: str, spoken: int) -> None:
        if spoken != self._fixed and not self._contradicted:
            self._contradicted = True
            _log.warn(
                "heartbeat.protocol is {fixed}, but {server} responds as generation {spoken}:"
                " expected auto or {spoken}",
                fixed=self._fixed,
                server=server,
                spoken=spoken,
            )

    def _learn(self, server: str, spoken: int) -> None:
        known = self._learned.pop(server, None) or _Known(0)
        self._learned[server] = known  # as the last one
        if len(self._learned) > _REMEMBERED:
            del self._learned[next(iter(self._learned))]
        if spoken == known.generation:
            return
        now = self._reactor.seconds()
        known.changes = [moment for moment in known.changes if moment > now - _CHANGES_PERIOD]
        if len(known.changes) < _CHANGES:
            known.generation, known.mixed = spoken, False
            known.changes.append(now)
            _log.info("{server} speaks generation {spoken} of the protocol", server=server, spoken=spoken)
        elif not known.mixed:
            known.mixed = True
            _log.warn(
                "{server} responds as generation {known} and as {spoken} by turns:"
                " expected servers of one generation behind an address",
                server=server,
                known=known.generation,
                spoken=spoken,
            )
