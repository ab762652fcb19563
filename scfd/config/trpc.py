"""
Takes what a node can use from a Go deployment's ``trpc_go.yaml``.

.. code-block:: yaml

    server:
      service:
        - {name: trpc.app.gateway.http, ip: 0.0.0.0, port: 9000, protocol: http_no_protocol}
        - {name: trpc.app.heartbeat.timer, network: "*/9 * * * * *?scheduler=local", protocol: timer}

Of services of one kind the first counts, and everything else in the file is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from attrs import frozen

from scfd.config.checks import HOST_OR_EMPTY, PORT, Address, ScalarCheck
from scfd.config.findings import WRONG, Findings
from scfd.config.source import read
from scfd.config.tree import Broken, Listing, Scalar, Table, join
from scfd.triggers.timer.cron import Cron

_HTTP = ("http", "http_no_protocol")
#: What may follow the cron expression: "?" alone is a part of it.
_OPTIONS = re.compile(r"\?(?=[A-Za-z_]).*")
#: Any midnight does: from there "every 9 seconds" is 9 seconds, and not what is left of the minute.
_MIDNIGHT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@frozen
class TrpcSettings:
    """
    :ivar listen: the gateway's address; None when the file has none.
    :ivar interval: seconds between two heartbeats; None when the file does not say.
    """

    listen: Address | None = None
    interval: float | None = None


def read_trpc(path: str, environ: Mapping[str, str], findings: Findings) -> TrpcSettings:
    """
    :param findings: gets what is wrong in the parts that are used.
    :raises scfd.errors.ConfigError: when the file can't be read or is no YAML mapping.
    """
    services = list(_services(read(path, environ)))
    listen: Address | None = None
    interval: float | None = None
    for key, service in services:
        if _text(service, "protocol") in _HTTP:
            listen = _listen(service, key, findings)
            break
    for key, service in services:
        if _text(service, "protocol") == "timer" and "heartbeat" in _text(service, "name").lower():
            interval = _interval(service, key, findings)
            break
    return TrpcSettings(listen, interval)


def _services(table: Table) -> Iterator[tuple[str, Table]]:
    server = table.get("server")
    services = server.node.get("service") if server and isinstance(server.node, Table) else None
    if services and isinstance(services.node, Listing):
        for index, node in enumerate(services.node.items):
            if isinstance(node, Table):
                yield f"server.service[{index}]", node


def _text(service: Table, name: str) -> str:
    entry = service.get(name)
    return entry.node.text if entry and isinstance(entry.node, Scalar) else ""


def _listen(service: Table, key: str, findings: Findings) -> Address | None:
    host = _value(service, "ip", HOST_OR_EMPTY, key, findings) or "0.0.0.0"
    port = _value(service, "port", PORT, key, findings)
    if port is None:
        findings.mistake(service.line, join(key, "port"), f"is missing; expected {PORT.accepted}")
    return None if port is None or WRONG in (host, port) else Address(host, port)


def _interval(service: Table, key: str, findings: Findings) -> float | None:
    entry = service.get("network")
    # The Go framework's own example has timers without a period.
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.text.isalnum()):
        text = f"has no period, so heartbeat.interval counts; expected {_PERIOD.accepted}"
        findings.warning(service.line, join(key, "network"), text)
        return None
    interval = _value(service, "network", _PERIOD, key, findings)
    return None if interval is WRONG else interval


def _value(service: Table, name: str, check: ScalarCheck, key: str, findings: Findings) -> Any:
    """:returns: None when there is no such key, `WRONG` when a mistake was noted."""
    entry = service.get(name)
    if entry is None:
        return None
    if isinstance(entry.node, Broken):
        findings.mistake(entry.node.line, join(key, name), entry.node.reason)
        return WRONG
    return check.read(entry.node, join(key, name), findings)


def _parse_period(node: Scalar) -> float:
    moments = Cron.parse(_OPTIONS.sub("", node.text)).moments_after(_MIDNIGHT)
    first, second = next(moments, None), next(moments, None)
    if first is None or second is None:
        raise ValueError(f"{node.text!r} fires less than twice; expected {_PERIOD.accepted}")
    return (second - first).total_seconds()


_PERIOD = ScalarCheck(
    'a cron expression with seconds first, such as "*/9 * * * * *", perhaps followed by ?key=value',
    _parse_period,
    explains=True,
)
