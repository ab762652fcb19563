"""Keys of a config that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from scfd.config.checks import SUBJECT, WRONG, Address
from scfd.config.findings import Findings, shown
from scfd.config.nats import NatsSettings, subject_matches, subjects_overlap
from scfd.config.tree import Listing, Scalar, Table
from scfd.config.values import AdapterSettings, HeartbeatSettings

_EVERYWHERE = ("0.0.0.0", "::")


def check_together(values: Mapping[str, Any], table: Table, findings: Findings) -> None:
    """
    :param values: the sections by name; `WRONG` for those with mistakes of their own, which are skipped.
    :param table: the tree that they were made of, for line numbers.
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


def _check_server(heartbeat: HeartbeatSettings, table: Table, findings: Findings) -> None:
    given = {"server_ip": bool(heartbeat.server_ip), "server_port": bool(heartbeat.server_port)}
    if heartbeat.server_url or all(given.values()) or not any(given.values()):
        return
    there, missing = sorted(given, key=lambda name: given[name], reverse=True)
    findings.mistake(
        line_of(table, "heartbeat", there),
        f"heartbeat.{there}",
        f"set without {missing}; expected server_ip and server_port together, or server_url",
    )


def _check_adapter(adapter: AdapterSettings, table: Table, findings: Findings) -> None:
    if adapter.native and adapter.http is not None:
        findings.mistake(
            line_of(table, "adapter", "http"),
            "adapter",
            "found both native and http; expected one of the two",
        )
    if adapter.http is None or adapter.http.command:
        return
    for name, unset in (("env", {}), ("env_pass", None), ("cwd", "")):
        if getattr(adapter.http, name) != unset:
            findings.mistake(
                line_of(table, "adapter", "http", name),
                f"adapter.http.{name}",
                "set without command; expected to set both, for a plugin that the node starts",
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
            findings.mistake(name.line, key, f"{taken}; expected unique names")
        lines.setdefault(name.node.text, name.line)


def _check_listeners(values: Mapping[str, Any], table: Table, findings: Findings) -> None:
    listeners = sorted(_listeners(values), key=lambda listener: line_of(table, *listener[0].split(".")))
    for index, (key, address) in enumerate(listeners):
        for other_key, other in listeners[:index]:
            if address.port == other.port and _overlap(address.host, other.host):
                text = f"the same port as {other_key}; expected a port that no other endpoint uses"
                findings.mistake(line_of(table, *key.split(".")), key, text)
                break


def _listeners(values: Mapping[str, Any]) -> Iterator[tuple[str, Address]]:
    dev = values["dev"]
    sections = {
        "gateway": values["gateway"],
        "admin": values["admin"],
        "dev.control_plane": None if dev is WRONG else dev.control_plane,
    }
    for name, section in sections.items():
        if section is not None and section is not WRONG and section.listen is not None:
            yield f"{name}.listen", section.listen
    if dev is not WRONG and dev.nats is not None:
        yield "dev.nats.port", Address("127.0.0.1", dev.nats.port)


def _overlap(one: str, other: str) -> bool:
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one, other)}
    return len(hosts) == 1 or any(host in _EVERYWHERE for host in hosts)


#: Ways to log in; a trigger has one of them.
_LOGINS = ("user", "token", "nkey", "credentials")
#: Settings that make or change a consumer.
_CHANGES = ("deliver", "ack_wait", "max_deliver", "max_ack_pending", "create_stream")


def check_nats(triggers: Any, table: Table, findings: Findings) -> None:
    """
    :param triggers: the value of ``triggers``; `WRONG` when it has mistakes of its own.
    :param table: the whole file.
    """
    entry = table.get("triggers")
    if triggers is WRONG or entry is None or not isinstance(entry.node, Listing):
        return
    consumers: dict[tuple[str, ...], str] = {}
    for index, (trigger, node) in enumerate(zip(triggers, entry.node.items, strict=True)):
        settings = node.get("settings") if isinstance(node, Table) else None
        if not isinstance(trigger, NatsSettings) or settings is None or not isinstance(settings.node, Table):
            continue
        lines = {entry.name: entry.line for entry in settings.node.entries}
        mistakes = (
            *_login_mistakes(trigger),
            *_subject_mistakes(trigger),
            *_consumer_mistakes(trigger),
            *_shared(trigger, consumers),
        )
        for name, text in mistakes:
            findings.mistake(lines.get(name, settings.line), f"triggers[{index}].settings.{name}", text)


def _subject_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
    """:returns: keys and what is wrong with them."""
    if trigger.subject and trigger.subjects:
        yield "subjects", "set beside subject; expected one of the two"
    elif not trigger.filters and not trigger.bind:
        yield "subject", f"is missing; expected {SUBJECT.accepted}, or subjects, a list of them"
    for one, other in combinations(trigger.subjects, 2):
        if subjects_overlap(one, other):
            yield "subjects", f"{one} and {other} overlap; expected subjects that have no message in common"
    if trigger.dead_letter and trigger.max_deliver == -1:
        yield "dead_letter", "set with max_deliver -1; nothing would ever be its last delivery"
    for subject in trigger.filters:
        if trigger.dead_letter and subject_matches(subject, trigger.dead_letter):
            text = f"{trigger.dead_letter} is among the messages of this trigger, {subject}; expected another"
            yield "dead_letter", f"{text} subject, or they would come again and again"


def _consumer_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
    again = trigger.max_deliver - 1
    limited = trigger.max_deliver != -1 and not trigger.bind
    if limited and "backoff" in trigger.explicit and len(trigger.backoff) > max(again, 1):
        yield (
            "backoff",
            f"has {len(trigger.backoff)} delays, and max_deliver {trigger.max_deliver} leaves room "
            f"for {again}; expected as many or fewer",
        )
    if trigger.domain and trigger.api_prefix:
        yield "api_prefix", "set beside domain; expected one of the two"
    for name in _CHANGES if trigger.bind else ():
        if name in trigger.explicit and getattr(trigger, name):
            yield (
                name,
                "set beside bind: true, which leaves the consumer as it is; expected one of the two",
            )


def _login_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
    logins = [name for name in _LOGINS if getattr(trigger, name)]
    if len(logins) > 1:
        yield logins[1], f"set beside {logins[0]}; expected one of {', '.join(_LOGINS)}"
    if logins and "@" in trigger.url:
        yield logins[0], "set beside credentials in url; expected one of the two"
    if bool(trigger.user) != bool(trigger.password):
        there, missing = ("user", "password") if trigger.user else ("password", "user")
        yield there, f"set without {missing}; expected both or none"
    if trigger.tls is not None and bool(trigger.tls.cert) != bool(trigger.tls.key):
        yield "tls", "one of cert and key is set without the other; expected both or none"


def _shared(trigger: NatsSettings, consumers: dict[tuple[str, ...], str]) -> Iterator[tuple[str, str]]:
    consumer = (trigger.url, trigger.api, trigger.stream, trigger.consumer_name)
    other = consumers.setdefault(consumer, trigger.name)
    if other != trigger.name:
        yield (
            "consumer_name",
            f"{trigger.consumer_name} is the consumer of trigger {other} already; expected one of its own",
        )
