"""What a probe says: its fields, and the addresses that can be taken from them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from scfd.events.wire import from_json
from scfd.identity import ServerAddress

_FIELDS: dict[str, type] = {
    "action": str,
    "source": str,
    "request_id": str,
    "timestamp": str,
    "server_ip": str,
    "server_port": int,
    "moox_server_url": str,
    "storage_server_url": str,
    "storage_server_rpc": str,
    "service_deployments": dict,
    "data": dict,
}
#: Hosts that a server sends which does not know its own address.
_NO_HOSTS = ("unknown", "none", "null", "nil", "undefined")
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


def parse_probe(body: bytes) -> dict[str, Any]:
    """
    :returns: the known fields that are there and not null.
    :raises ValueError: when the body is no probe; the text goes to the sender.
    """
    try:
        probe = from_json(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(probe, dict):
        raise ValueError("the body is not a JSON object")
    known = {name: probe[name] for name in _FIELDS if probe.get(name) is not None}
    for name, value in known.items():
        if _FIELDS[name] is int and isinstance(value, float) and value.is_integer():
            known[name] = int(value)
        elif not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise ValueError(
                f"{name} is not {'an' if _FIELDS[name] is int else 'a'} {_FIELDS[name].__name__}"
            )
    return known


def server_address(probe: Mapping[str, Any]) -> ServerAddress | None:
    """
    The control plane's address by a probe: that of a deployed service, else the URL, else host and port.

    :returns: None when the probe has none.
    :raises ValueError: when it is no http(s) URL, or no host and port.
    """
    for service in ("service_gateway", "admin_gateway"):
        url = _deployed(probe, service)
        if url:
            return ServerAddress(probe.get("server_ip", ""), probe.get("server_port", 0), url)
    address = ServerAddress(
        probe.get("server_ip", ""), probe.get("server_port", 0), probe.get("moox_server_url", "")
    )
    if not address.base_url:
        return None
    if not _is_url(address.base_url):
        raise ValueError("the control plane address is no http(s) URL, or no host and port")
    if not address.url and "/" in address.ip:
        raise ValueError("server_ip is not a host")
    return address


def storage_url(probe: Mapping[str, Any]) -> str:
    """The storage server's URL by a probe; empty when the probe has none."""
    url: str = _deployed(probe, "storage_access") or probe.get("storage_server_url", "")
    return url if is_usable(url) else ""


def node_id(probe: Mapping[str, Any]) -> str:
    """The id that the control plane has for this node; empty when the probe has none."""
    given = probe.get("data", {}).get("node_id")
    return given.strip() if isinstance(given, str) else ""


def _deployed(probe: Mapping[str, Any], service: str) -> str:
    """:returns: the ``base_url`` of a deployed service; empty when it has none that can be used."""
    deployment = probe.get("service_deployments", {}).get(service)
    url = deployment.get("base_url") if isinstance(deployment, dict) else None
    return url.rstrip("/") if isinstance(url, str) and _is_url(url) and is_usable(url) else ""


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    # A password would end up in logs; paths are appended, which a query would swallow.
    return bool(is_url) and not any(c in "?#@" or c.isspace() or not c.isprintable() for c in url)


def is_usable(url: str) -> bool:
    """
    Whether a URL can be that of a server: its host is none of the words and addresses that stand for an
    address that is not known, or for no single machine.
    """
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and host.lower() not in _NO_HOSTS
    return not (ip.is_unspecified or ip.is_multicast or ip == _BROADCAST or ip in _THIS_NETWORK)


#: Among the allowed servers: whichever accepts the first heartbeat.
FIRST = "first"


def is_allowed(address: ServerAddress, allowed: Sequence[str], first: str = "") -> bool:
    """
    Whether a probe may name this control plane.

    :param allowed: host names, IP addresses, CIDR ranges and `FIRST`; none means any.
    :param first: the URL of the one that has accepted the first heartbeat; empty before that.
    """
    if not allowed:
        return True
    host = urlsplit(address.base_url).hostname or ""
    if FIRST in allowed and host == (urlsplit(first).hostname or host):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".") in allowed
    return any(ip in network for network in map(_network, allowed) if network is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
