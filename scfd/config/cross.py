"""Keys of a config that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from scfd.config.checks import SUBJECT, Address
from scfd.config.findings import WRONG, Findings, shown
from scfd.config.nats import NatsSettings, subject_matches, subjects_overlap
from scfd.config.origin import Origin
from scfd.config.tree import Listing, Scalar, Table
from scfd.config.values import AdapterSettings, HeartbeatSettings, TriggerSettings

#: Hosts that stand for every interface.
EVERYWHERE = ("0.0.0.0", "::")


def check_together(values: Mapping[str, Any], table: Table, origin: Origin, findings: Findings) -> None:
    """
    :param values: the sections by name; `WRONG` for those with mistakes of their own, which are skipped.
    :param table: the tree that they were made of.
    :param origin: of that tree.
    """
    mistakes: list[tuple[str, str]] = []
    if values["heartbeat"] is not WRONG:
        mistakes += _server_mistakes(values["heartbeat"])
    if values["adapter"] is not WRONG:
        mistakes += _adapter_mistakes(values["adapter"])
        if values["adapter"].native and values["adapter"].http is not None:
            text = "found both native and http; expected one of the two"
            findings.mistake(origin.line_of("adapter.http"), "adapter", text)
    if values["triggers"] is not WRONG:
        mistakes += _nats_mistakes(values["triggers"])
    mistakes += _open_admin(values["admin"])
    mistakes += _clashes(values, origin)
    mistakes += _calls_of_itself(values)
    for key, text in mistakes:
        findings.mistake(origin.line_of(key), key, text)
    _check_names(table, findings)


def _server_mistakes(heartbeat: HeartbeatSettings) -> Iterator[tuple[str, str]]:
    """:returns: keys and what is wrong with them, as the functions that follow."""
    given = {"server_ip": bool(heartbeat.server_ip), "server_port": bool(heartbeat.server_port)}
    if heartbeat.server_url or all(given.values()) or not any(given.values()):
        return
    there, missing = sorted(given, key=lambda name: given[name], reverse=True)
    text = f"set without {missing}; expected server_ip and server_port together, or server_url"
    yield f"heartbeat.{there}", text


def _open_admin(admin: Any) -> Iterator[tuple[str, str]]:
    """Whoever reaches the endpoint for operators can run events and end the node."""
    if admin in (WRONG, None) or admin.listen is None or admin.token:
        return
    if not is_loopback(admin.listen.host):
        text = f"found {admin.listen} without admin.token; expected a token, or an address of this machine"
        yield "admin.listen", f"{text} such as 127.0.0.1:{admin.listen.port}"


def _adapter_mistakes(adapter: AdapterSettings) -> Iterator[tuple[str, str]]:
    if adapter.http is None or adapter.http.command:
        return
    for name, unset in (("env", {}), ("env_pass", None), ("cwd", "")):
        if getattr(adapter.http, name) != unset:
            text = "set without command; expected to set both, for a plugin that the node starts"
            yield f"adapter.http.{name}", text


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


def _clashes(values: Mapping[str, Any], origin: Origin) -> Iterator[tuple[str, str]]:
    found = sorted(listeners(values), key=lambda listener: origin.line_of(listener[0]))
    for index, (key, address) in enumerate(found):
        for other_key, other in found[:index]:
            if address.port == other.port and _overlap(address.host, other.host):
                yield key, f"the same port as {other_key}; expected a port that no other endpoint uses"
                break


def _calls_of_itself(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """URLs of others that lead to an endpoint of the node itself."""
    adapter, heartbeat = values["adapter"], values["heartbeat"]
    urls = {}
    if adapter is not WRONG and adapter.http is not None:
        urls["adapter.http.url"] = adapter.http.url
    if heartbeat is not WRONG and heartbeat.server_url:
        urls["heartbeat.server_url"] = heartbeat.server_url
    elif heartbeat is not WRONG and heartbeat.server_ip and heartbeat.server_port:
        urls["heartbeat.server_ip"] = f"http://{Address(heartbeat.server_ip, heartbeat.server_port)}"
    for key, url in urls.items():
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        for other_key, other in listeners(values):
            of_control_plane = key.startswith("heartbeat.") and other_key == "dev.control_plane.listen"
            if port == other.port and _leads_to(parts.hostname or "", other.host) and not of_control_plane:
                yield key, f"leads to the node's own {other_key}; expected the address of another program"
                break


def listeners(values: Mapping[str, Any]) -> Iterator[tuple[str, Address]]:
    """
    :param values: the sections by name; `WRONG` for those with mistakes of their own.
    :returns: keys, and where the node listens because of them.
    """
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
    return len(hosts) == 1 or any(host in EVERYWHERE for host in hosts)


def _leads_to(host: str, listening: str) -> bool:
    return _overlap(host, listening) and (is_loopback(host) or host == listening or host in EVERYWHERE)


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address, as a config has it, is reached from this machine only."""
    return host in ("localhost", "::1") or re.fullmatch(r"127\.[0-9.]+", host) is not None


#: Ways to log in; a trigger has one of them.
LOGINS = ("user", "token", "nkey", "credentials")
#: Settings that make or change a consumer.
CONSUMER_KEYS = ("deliver", "ack_wait", "max_deliver", "max_ack_pending", "create_stream")


def _nats_mistakes(triggers: Sequence[TriggerSettings]) -> Iterator[tuple[str, str]]:
    consumers: dict[tuple[str, ...], str] = {}
    for index, trigger in enumerate(triggers):
        if not isinstance(trigger, NatsSettings):
            continue
        for name, text in (
            *_login_mistakes(trigger),
            *_package_mistakes(trigger),
            *_subject_mistakes(trigger),
            *_consumer_mistakes(trigger),
            *_shared(trigger, consumers),
        ):
            yield f"triggers[{index}].settings.{name}", text


def _package_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
    """What nats-py needs besides, and imports only when it is too late for a clear word."""
    schemes = {urlsplit(url).scheme for url in trigger.url.split(",")}
    needed = {
        "url": "aiohttp" if schemes & {"ws", "wss"} else "",
        "nkey": "nkeys" if trigger.nkey else "",
        "credentials": "nkeys" if trigger.credentials else "",
    }
    for name, package in needed.items():
        if package and find_spec(package) is None:
            extra = "ws" if package == "aiohttp" else package
            text = f"needs the package {package}, which is not installed"
            yield name, f"{text}; expected it: pip install 'scfd[{extra}]'"


def _subject_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
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
    for name in CONSUMER_KEYS if trigger.bind else ():
        if name in trigger.explicit and getattr(trigger, name):
            yield (name, "set beside bind: true, which leaves the consumer as it is; expected one of the two")


def _login_mistakes(trigger: NatsSettings) -> Iterator[tuple[str, str]]:
    logins = [name for name in LOGINS if getattr(trigger, name)]
    if len(logins) > 1:
        yield logins[1], f"set beside {logins[0]}; expected one of {', '.join(LOGINS)}"
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
