"""HTTP to the control plane: one POST of JSON, one answer, within a time limit."""

from __future__ import annotations

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from scfd.exchange import cancellable, read_body
from scfd.wire import to_json


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
    """

    def __init__(self, http: HTTPClient, clock: IReactorTime) -> None:
        self._http = http
        self._clock = clock

    def post(self, url: str, value: object, timeout: float) -> Deferred[Answer]:
        """
        :param timeout: seconds for the whole exchange.
        :returns: a Deferred of the `Answer`, whatever its status. It fails with
            `twisted.internet.defer.TimeoutError`, or as `twisted.web.client.Agent.request` does.
        """
        exchange = Deferred.fromCoroutine(self._post(url, to_json(value)))
        return exchange.addTimeout(timeout, self._clock)

    async def _post(self, url: str, body: bytes) -> Answer:
        request = self._http.post(
            url,
            data=body,
            headers=Headers({"Content-Type": ["application/json"]}),
            allow_redirects=False,
            unbuffered=True,
        )
        response = await cancellable(request)
        return Answer(response.code, await read_body(response))
