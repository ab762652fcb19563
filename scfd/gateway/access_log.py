"""A log line for each request."""

from __future__ import annotations

from twisted.logger import Logger

from scfd.gateway.request import Request

_log = Logger(namespace="scfd.access")


class AccessLog:
    """Queries are left out: they may hold secrets."""

    def write(self, address: str, request: Request | None, status: int, sent: int, seconds: float) -> None:
        """
        :param address: the caller's.
        :param request: None for one that could not be read.
        :param sent: bytes of the answer, its head included.
        """
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
