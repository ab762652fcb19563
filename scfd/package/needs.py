"""What a config needs of scfd and its dependencies; the rest stays out of the package."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from attrs import frozen

from scfd.config import Config, NatsSettings
from scfd.identity import ServerAddress


@frozen
class Needs:
    """
    :ivar extras: of scfd's distribution.
    :ivar without: distributions that are left out although scfd asks for them.
    :ivar tls: whether the node itself makes https requests: cryptography is half the size of a package.
    :ivar whole_twisted: whether code other than scfd's may use Twisted.
    """

    extras: frozenset[str]
    without: frozenset[str]
    tls: bool
    whole_twisted: bool

    def sentences(self) -> Iterator[str]:
        """What a person has to know of what is left out."""
        if not self.tls:
            yield (
                "left out pyOpenSSL, since the config's control plane is http and the plugin a program of "
                "its own; should a probe name one on https, add pyOpenSSL and service-identity to "
                "--requirements"
            )
        if self.without:
            yield f"left out {', '.join(sorted(self.without))}, which this config does not use"


def needs_of(config: Config) -> Needs:
    """What the node and a plugin that has its logs in CLS need."""
    queues = [trigger for trigger in config.triggers if isinstance(trigger, NatsSettings)]
    extras = set()
    if any(urlsplit(url).scheme in ("ws", "wss") for queue in queues for url in queue.url.split(",")):
        extras.add("ws")
    if any(queue.nkey or queue.credentials for queue in queues):
        extras.add("nkeys")
    if _has(config.plugin, "cls"):
        extras.add("cls")
    without = set()
    if not queues:
        without.add("nats-py")
    if config.admin is None:
        without.add("txjson-rpc")
    native = config.adapter.http is None
    return Needs(frozenset(extras), frozenset(without), native or _may_be_https(config), native)


def _has(plugin: object, name: str) -> bool:
    return name in plugin if isinstance(plugin, dict) else getattr(plugin, name, None) is not None


def _may_be_https(config: Config) -> bool:
    """Whether the control plane is on https, or is not known before a probe names it."""
    heartbeat = config.heartbeat
    address = ServerAddress(heartbeat.server_ip, heartbeat.server_port, heartbeat.server_url)
    return not address.base_url.startswith("http://")
