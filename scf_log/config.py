"""The settings: from a dict or a YAML file, with ``${NAME}`` taken from the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_VARIABLE = re.compile(r"\$(\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})")
#: What YAML takes for a name may be a key: ``secret_key: *hidden``.
_NAMED = re.compile("(alias|anchor|tag handle|tag) '[^']*'")
#: Names that the Go framework's settings have for some of ours.
ALIASES = {"total_size_bytes": "total_size_ln_bytes", "max_send_workers": "max_send_worker_count"}
#: Where SCF puts the temporary credentials of a function that has a role.
_ENVIRONMENT = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")


@dataclass(frozen=True)
class Credentials:
    """What signs an upload. :ivar token: of temporary credentials; else empty."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass
class CLSConfig:
    """
    Where logs go, and how many at a time.

    :ivar topic_id: of the CLS topic.
    :ivar host: such as ap-guangzhou.cls.tencentcs.com; https where it names no scheme.
    :ivar secret_id: with ``secret_key`` the credentials; without both, those that SCF puts into the
        environment, read anew for each upload since they expire.
    :ivar secret_token: of temporary credentials.
    :ivar source: what CLS shows as the machine; by default its own IP address.
    :ivar total_size_ln_bytes: bytes of entries that may wait; past it further ones are dropped and counted.
    :ivar max_send_worker_count: uploads at a time.
    :ivar max_block_sec: seconds that a caller waits for room; 0: not at all; negative: until there is some.
    :ivar max_batch_size: bytes of an upload, before compression.
    :ivar max_batch_count: entries of an upload.
    :ivar linger_ms: milliseconds that an entry waits for others to go with it.
    :ivar retries: tries of an upload after the first one.
    :ivar base_retry_backoff_ms: milliseconds before the second try; doubled before each further one.
    :ivar max_retry_backoff_ms: the longest of these.
    :ivar field_map: other names for fields, such as ``{Msg: message}``.
    """

    topic_id: str = ""
    host: str = ""
    secret_id: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    secret_token: str = field(default="", repr=False)
    source: str = ""
    total_size_ln_bytes: int = 104_857_600
    max_send_worker_count: int = 50
    max_block_sec: float = 0
    max_batch_size: int = 5_242_880
    max_batch_count: int = 4096
    linger_ms: int = 2000
    retries: int = 10
    base_retry_backoff_ms: int = 100
    max_retry_backoff_ms: int = 50_000
    field_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.source:
            self.source = own_address()

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> CLSConfig:
        """:raises ValueError: for a value of the wrong kind. Unknown names are ignored, as in Go."""
        if not isinstance(settings, Mapping):
            raise ValueError(f"scf_log: expected a mapping of settings, found {type(settings).__name__}")
        known = {one.name: one for one in fields(cls)}
        given: dict[str, Any] = {}
        for name, value in settings.items():
            name = ALIASES.get(name, name)
            if name in known and value is not None:
                given[name] = _converted(name, _expanded(value), str(known[name].type))
        return cls(**given)

    @classmethod
    def from_yaml(cls, path: str, key: str = "cls") -> CLSConfig:
        """
        :param key: the section below ``plugin``, or at the top level; without one, the top level itself.
        :raises ValueError: when the file can't be read or is no mapping.
        """
        import yaml  # 15 ms that a plugin without a file saves

        try:
            with open(path, encoding="utf-8") as file:
                whole = yaml.safe_load(file)
        except (OSError, ValueError, yaml.YAMLError) as error:
            text = _NAMED.sub(r"\1", " ".join(str(error).split()))
            raise ValueError(f"scf_log: {path}: {text}") from None
        if not isinstance(whole, dict):
            raise ValueError(f"scf_log: {path}: expected a mapping, found {type(whole).__name__}")
        plugin = whole.get("plugin")
        section = plugin.get(key) if isinstance(plugin, dict) else None
        return cls.from_dict(section or whole.get(key) or whole)

    def credentials(self) -> Credentials:
        """The ones to sign with now."""
        if self.secret_id and self.secret_key:
            return Credentials(self.secret_id, self.secret_key, self.secret_token)
        secret_id, secret_key, token = (os.environ.get(name, "") for name in _ENVIRONMENT)
        return Credentials(secret_id, secret_key, token)

    def validate(self) -> None:
        """:raises ValueError: naming everything that is missing or out of range."""
        wrong = [f"{name} is missing" for name in ("topic_id", "host") if not getattr(self, name)]
        credentials = self.credentials()
        if not credentials.secret_id:
            wrong.append("secret_id is missing")
        if not credentials.secret_key:
            wrong.append("secret_key is missing")
        at_least_one = ("total_size_ln_bytes", "max_send_worker_count", "max_batch_size", "max_batch_count")
        wrong += [
            f"{name} is {getattr(self, name)}, expected 1 or more"
            for name in at_least_one
            if getattr(self, name) < 1
        ]
        not_negative = ("linger_ms", "retries", "base_retry_backoff_ms", "max_retry_backoff_ms")
        wrong += [
            f"{name} is {getattr(self, name)}, expected 0 or more"
            for name in not_negative
            if getattr(self, name) < 0
        ]
        if "://" in self.host and not self.host.lower().startswith(("http://", "https://")):
            wrong.append("host has an unknown scheme, expected http or https")
        if wrong:
            raise ValueError(f"scf_log: CLS settings: {'; '.join(wrong)}")


def _expanded(value: Any) -> Any:
    """``${NAME}`` and ``${NAME:-default}`` in texts, as in the node's config; ``$$`` is a dollar sign."""

    def found(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        text = os.environ.get(name) or match["default"]
        if text is None:
            raise ValueError(f"scf_log: the environment variable {name} is not set")
        return text

    return _VARIABLE.sub(found, value) if isinstance(value, str) else value


def _converted(name: str, value: Any, kind: str) -> Any:
    try:
        if kind == "int":
            return int(value)
        if kind == "float":
            return float(value)
        if kind == "str":
            return str(value)
        return {str(key): str(text) for key, text in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"scf_log: {name}: found {value!r}, expected {_KINDS.get(kind, 'a mapping')}"
        ) from None


_KINDS = {"int": "a whole number", "float": "a number"}


def own_address() -> str:
    """The address this machine has towards others. Connecting a UDP socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("10.255.255.255", 9))
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
