"""What the gateway counts of each request, and the log line that it may write."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from scfd.http1.contract import Request
from scfd.status.metrics import Metrics

_log = Logger(namespace="scfd.access")


class GatewayObserver:
    """
    The `scfd.http1.contract.Observer` of the gateway.

    :param access_log: whether a log line is written for each request.
    """

    def __init__(self, metrics: Metrics, access_log: bool) -> None:
        self._metrics = metrics
        self._access_log = access_log
        #: By status: labels() takes longer than the counting.
        self._figures: dict[int, tuple[Callable[[], None], Callable[[float], None]]] = {}
        self.refused = metrics.gateway_refused.inc

    def ended(self, address: str, request: Request | None, status: int, sent: int, seconds: float) -> None:
        """Count a request: see `scfd.http1.contract.Observer`."""
        figures = self._figures.get(status)
        if figures is None:
            figures = self._figures[status] = (
                self._metrics.gateway_requests.labels(str(status)).inc,
                self._metrics.gateway_seconds.labels(str(status)).observe,
            )
        count_one, observe = figures
        count_one()
        observe(seconds)
        if self._access_log:
            _write_line(address, request, status, sent, seconds)


def _write_line(address: str, request: Request | None, status: int, sent: int, seconds: float) -> None:
    """Queries are left out: they may hold secrets."""
    _log.info(
        "{address} {method} {path} {status} {sent} B {seconds:.3f} s {request_id}",
        address=address,
        method=request.method.decode("latin-1") if request else "-",
        path=request.path.decode("latin-1") if request else "-",
        status=status,
        sent=sent,
        seconds=seconds,
        request_id=request.request_id.decode("ascii") if request else "-",
    )
