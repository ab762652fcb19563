"""
Takes what a node can use from a Go deployment's ``trpc_go.yaml``.

.. code-block:: yaml

    server:
      service:
        - {name: trpc.app.gateway.http, ip: 0.0.0.0, port: 9000, protocol: http_no_protocol}
        - {name: trpc.app.heartbeat.timer, network: "*/9 * * * * *?scheduler=local", protocol: timer}

The period may also stand in the service's ``timer: {cron: …}``, as in the Go framework's examples. Of the
services of one kind the first counts, and everything else in the file is somebody else's.
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
#: Timers behind heartbeats, behind the triggers of the config, and behind ``dns_proxy``.
_OF_THE_FRAMEWORK = re.compile(r"heartbeat|timer\.(second|minute|hour)$|dns")
#: Any midnight does: from there "every 9 seconds" is 9 seconds, and not what is left of the minute.
_MIDNIGHT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@frozen
class TrpcSettings:
    """
    :ivar listen: the gateway's address; None when the file has none.
    :ivar interval: seconds between two heartbeats; None when the file does not say.
    :ivar services: the names of all services.
    :ivar timers: those that call the Go program itself, and not its triggers: line and name.
    """

    listen: Address | None = None
    interval: float | None = None
    services: tuple[str, ...] = ()
    timers: tuple[tuple[int, str], ...] = ()


def read_trpc(path: str, environ: Mapping[str, str], findings: Findings) -> TrpcSettings:
    """
    :param findings: gets what is wrong in the parts that are used.
    :raises scfd.errors.ConfigError: when the file can't be read or is no YAML mapping.
    """
    services = list(_services(read(path, environ)))
    if not services:
        findings.warning(0, "server.service", "is not there or empty, so nothing is taken from this file")
    listen: Address | None = None
    interval: float | None = None
    for key, service in services:
        if _text(service, "protocol") in _HTTP:
            listen = _listen(service, key, findings)
            break
    timers = [(key, each) for key, each in services if _text(each, "protocol") == "timer"]
    for key, service in timers:
        if "heartbeat" in _text(service, "name").lower():
            interval = _interval(service, key, findings)
            break
    names = tuple(_text(service, "name") for _, service in services)
    others = tuple((each.line, _text(each, "name")) for _, each in timers)
    return TrpcSettings(
        listen,
        interval,
        names,
        tuple(each for each in others if not _OF_THE_FRAMEWORK.search(each[1].lower())),
    )


def is_trpc(table: Table) -> bool:
    """Whether a file is a trpc_go.yaml, and not the config that belongs beside it."""
    names = {entry.name for entry in table.entries}
    return any(_services(table)) and not names & {"system", "heartbeat", "triggers", "gateway", "adapter"}


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
    timer = service.get("timer")
    places = [(service, key, "network")]
    if timer is not None and isinstance(timer.node, Table):
        places.append((timer.node, join(key, "timer"), "cron"))
    for table, where, name in places:
        entry = table.get(name)
        # "tcp" is no period.
        if entry is not None and not (isinstance(entry.node, Scalar) and entry.node.text.isalnum()):
            interval = _value(table, name, _PERIOD, where, findings)
            return None if interval is WRONG else interval
    # The Go framework's own example has timers without a period.
    text = f"has no period, so heartbeat.interval counts; expected {_PERIOD.accepted}"
    findings.warning(service.line, join(key, "network"), text)
    return None


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
