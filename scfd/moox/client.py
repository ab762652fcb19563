"""HTTP to the control plane: one POST of JSON, one answer, within a time limit."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from scfd.exchange import exchange
from scfd.moox.auth import Signer
from scfd.wire import to_json

#: Bytes of one answer; 100,000 tasks are about 20 MiB.
LONGEST_ANSWER = 32 << 20


@frozen
class Answer:
    """
    :ivar status: the HTTP status code.
    :ivar body: at most as long as the server made it.
    """

    status: int
    body: bytes


class ControlPlaneClient:
    """
    :param http: a treq client; its connections are kept and shared.
    :param clock: for the time limits.
    :param signer: signs each request, where the control plane asks for it.
    """

    def __init__(self, http: HTTPClient, clock: IReactorTime, signer: Signer | None = None) -> None:
        self._http = http
        self._clock = clock
        self._signer = signer

    def post(self, url: str, value: object, timeout: float) -> Deferred[Answer]:
        """
        :param timeout: seconds for the whole exchange.
        :returns: a Deferred of the `Answer`, whatever its status. It fails with
            `twisted.internet.defer.TimeoutError`, or as `twisted.web.client.Agent.request` does.
        """
        answer = Deferred.fromCoroutine(self._post(url, to_json(value)))
        return answer.addTimeout(timeout, self._clock, _took_too_long)

    async def _post(self, url: str, body: bytes) -> Answer:
        headers = Headers({"Content-Type": ["application/json"]})
        if self._signer is not None:
            headers.setRawHeaders("Auth", [self._signer.sign(body)])
        request = self._http.post(
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            unbuffered=True,
        )
        return Answer(*await exchange(request, LONGEST_ANSWER))


def _took_too_long(_: Any, seconds: float) -> Any:
    raise TimeoutError(f"no answer after {seconds:g} s")
