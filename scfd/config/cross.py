"""What two keys of a config must not say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scfd.config.checks import WRONG, Address
from scfd.config.cross_nats import check_nats
from scfd.config.findings import Findings, shown
from scfd.config.tree import Listing, Scalar, Table
from scfd.config.values import Adapter, Heartbeat

_EVERYWHERE = ("0.0.0.0", "::")


def check_together(values: Mapping[str, Any], table: Table, findings: Findings) -> None:
    """
    :param values: the sections by name; `WRONG` for those that have mistakes of their own, which
        are left alone.
    :param table: what they were made of, for the lines.
    """
    if values["heartbeat"] is not WRONG:
        _check_server(values["heartbeat"], table, findings)
    if values["adapter"] is not WRONG:
        _check_adapter(values["adapter"], table, findings)
    _check_names(table, findings)
    check_nats(values["triggers"], table, findings)
    _check_listeners(values, table, findings)


def line_of(table: Table, *names: str) -> int:
    """The line of a key, or of the innermost section around it that the file has; 0 for none."""
    line = 0
    for name in names:
        entry = table.get(name)
        if entry is None:
            break
        line = entry.line
        if not isinstance(entry.node, Table):
            break
        table = entry.node
    return line


def _check_server(heartbeat: Heartbeat, table: Table, findings: Findings) -> None:
    given = {"server_ip": bool(heartbeat.server_ip), "server_port": bool(heartbeat.server_port)}
    if heartbeat.server_url or all(given.values()) or not any(given.values()):
        return
    there, missing = sorted(given, key=lambda name: given[name], reverse=True)
    findings.mistake(
        line_of(table, "heartbeat", there),
        f"heartbeat.{there}",
        f"set without {missing}; accepted are server_ip and server_port together, or server_url",
    )


def _check_adapter(adapter: Adapter, table: Table, findings: Findings) -> None:
    if adapter.native and adapter.http is not None:
        findings.mistake(
            line_of(table, "adapter", "http"),
            "adapter",
            "found both native and http; accepted is one of the two",
        )
    if adapter.http is None or adapter.http.command:
        return
    for name in ("env", "cwd"):
        if getattr(adapter.http, name):
            findings.mistake(
                line_of(table, "adapter", "http", name),
                f"adapter.http.{name}",
                "set without command; accepted is to set both, for a plugin that the node starts",
            )


def _check_names(table: Table, findings: Findings) -> None:
    """Names are unique, also among triggers that have other mistakes."""
    entry = table.get("triggers")
    if entry is None or not isinstance(entry.node, Listing):
        return
    lines: dict[str, int] = {}
    for index, item in enumerate(entry.node.items):
        name = item.get("name") if isinstance(item, Table) else None
        if name is None or not isinstance(name.node, Scalar):
            continue
        if name.node.text in lines:
            key = f"triggers[{index}].name"
            taken = f"{shown(name.node, key)} is the trigger of line {lines[name.node.text]} already"
            findings.mistake(name.line, key, f"{taken}; accepted are unique names")
        lines.setdefault(name.node.text, name.line)


def _check_listeners(values: Mapping[str, Any], table: Table, findings: Findings) -> None:
    listeners = sorted(_listeners(values), key=lambda listener: line_of(table, *listener[0].split(".")))
    for index, (key, address) in enumerate(listeners):
        for other_key, other in listeners[:index]:
            if address.port == other.port and _overlap(address.host, other.host):
                text = f"the same port as {other_key}; accepted is a port of its own"
                findings.mistake(line_of(table, *key.split(".")), key, text)
                break


def _listeners(values: Mapping[str, Any]) -> Iterator[tuple[str, Address]]:
    dev = values["dev"]
    sections = {
        "gateway": values["gateway"],
        "control": values["control"],
        "dev.moox": None if dev is WRONG else dev.moox,
    }
    for name, section in sections.items():
        if section is not None and section is not WRONG and section.listen is not None:
            yield f"{name}.listen", section.listen
    if dev is not WRONG and dev.nats is not None:
        yield "dev.nats.port", Address("127.0.0.1", dev.nats.port)


def _overlap(one: str, other: str) -> bool:
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one, other)}
    return len(hosts) == 1 or any(host in _EVERYWHERE for host in hosts)
