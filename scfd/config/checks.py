"""What single values of a config may be."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from attrs import field, frozen

from scfd.config.findings import WRONG, Findings, is_secret
from scfd.config.tree import Node, Scalar, is_odd_number
from scfd.log_levels import ACCEPTED, level_name
from scfd.triggers.timer.cron import Cron

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
#: A number without a sign in front of a unit, as in 1m30s; nothing of it can be skipped or repeated oddly.
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+")
_DURATION_PART = re.compile(r"([0-9.]+)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"([0-9]{1,18})\s*(KiB|MiB|GiB)?")
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE_TEXT = re.compile(r"([-+]?[0-9]{1,18})(?:\.0+)?")
#: Whole numbers are counts; larger ones are slips, and some systems have 31 bits for them.
LARGEST = 2**31 - 1
_BYTES = {None: 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
#: Seconds. Longer ones are slips, and timers of the operating system overflow at some point.
LONGEST = 365 * 24 * 3600
NATS_SCHEMES = ("nats", "tls", "ws", "wss")


class ExplainedError(ValueError):
    """A value that is not accepted; the text is for the user."""


@frozen
class Address:
    """
    Where to listen.

    :ivar host: a host name or an IP address, without brackets.
    :ivar port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reached(self) -> Address:
        """How it is reached from this machine."""
        local = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
        return Address(local.get(self.host, self.host), self.port)

    @property
    def url(self) -> str:
        """How it is reached by http from this machine."""
        return f"http://{self.reached}"


@frozen
class ScalarCheck:
    """
    A check of a single value.

    :ivar accepted: how a message says what is accepted.
    :ivar parse: makes the value; raises ValueError for one that is not accepted.
    :ivar explains: whether the text of that ValueError is for the user, in place of the usual one.
    :ivar schema: the check as JSON Schema has it, where it has parameters; see `scfd.cli.schema`.
    """

    accepted: str
    parse: Callable[[Scalar], Any]
    explains: bool = False
    schema: Mapping[str, Any] = field(factory=dict, eq=False)

    def read(self, node: Node, key: str, findings: Findings) -> Any:
        """:returns: the value, or `WRONG` when a mistake was noted."""
        if isinstance(node, Scalar):
            try:
                return self.parse(node)
            except ValueError as error:
                explains = self.explains or isinstance(error, ExplainedError)
                if explains and not node.variables and not is_secret(key):
                    findings.mistake(node.line, key, str(error))
                    return WRONG
        return findings.refuse(node, key, self.accepted)


def parse_text(node: Scalar) -> str:
    """Text as it is written: ``1.10`` stays 1.10, as it does for the Go framework."""
    if "\0" in node.text:
        raise ExplainedError("found a NUL character; expected text without one")
    return "" if node.value is None else node.text


def parse_duration(node: Scalar) -> float:
    """
    :returns: seconds, 0 to `LONGEST`.
    :raises ValueError: when it is no duration.
    """
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or _is_odd(node):
        raise ValueError
    value = value.strip() if isinstance(value, str) else value
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        seconds = _number(value)
    if not 0 <= seconds <= LONGEST:  # NaN is refused here as well
        raise ValueError
    return seconds


def _is_odd(node: Scalar) -> bool:
    return isinstance(node.value, (int, float)) and is_odd_number(node.text)


def _number(value: float | str) -> float:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def parse_whole(node: Scalar) -> int:
    """
    :returns: a whole number; 3.0 and "3" are 3.
    :raises ValueError: when it is none, true and false included.
    """
    value = node.value
    if isinstance(value, str) and (whole := _WHOLE_TEXT.fullmatch(value.strip())):
        return int(whole[1])
    if _is_odd(node):
        raise ValueError
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def parse_size(node: Scalar, least: int = 1) -> int:
    """
    :returns: bytes, at least so many.
    :raises ValueError: when it is no size.
    """
    match = _SIZE.fullmatch(node.value.strip()) if isinstance(node.value, str) else None
    size = int(match[1]) * _BYTES[match[2]] if match else parse_whole(node)
    if size < least:
        raise ValueError
    return size


def parse_host(text: str) -> str:
    """
    :returns: a host name or an IP address.
    :raises ValueError: when it is neither.
    """
    # What consists of digits and dots only is meant as an IPv4 address.
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        return str(ipaddress.ip_address(text))
    if not _HOST_NAME.fullmatch(text):
        raise ValueError
    return text


def parse_address(node: Scalar) -> Address:
    """
    :returns: where to listen; without a host, on all IPv4 interfaces.
    :raises ValueError: when it is not HOST:PORT.
    """
    match = _ADDRESS.fullmatch(node.text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError
    if match["ipv6"] is not None:
        return Address(str(ipaddress.IPv6Address(match["ipv6"])), int(match["port"]))
    return Address(parse_host(match["host"]) if match["host"] else "0.0.0.0", int(match["port"]))


def parse_http_url(node: Scalar) -> str:
    """
    :returns: an http or https URL without a trailing slash.
    :raises ValueError: when it is none, or has a user name or a query.
    """
    url = _split_url(node.text, ("http", "https"))
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError
    return node.text.rstrip("/")


def _split_url(text: str, schemes: tuple[str, ...]) -> Any:
    url = urlsplit(text)
    if url.scheme not in schemes or not url.hostname or re.search(r"[\s\x00-\x1f]", text):
        raise ValueError
    parse_host(url.hostname)
    if url.port == 0 or url.netloc.endswith(":"):  # .port itself raises ValueError for what is no port
        raise ValueError
    return url


def _parse_nats_url(node: Scalar) -> str:
    urls = [url.strip() for url in node.text.split(",")]
    for url in urls:
        _split_url(url, NATS_SCHEMES)
    return ",".join(urls)


def _matching(pattern: str) -> Callable[[Scalar], str]:
    def parse(node: Scalar) -> str:
        if not re.fullmatch(pattern, node.text):
            raise ValueError
        return node.text

    return parse


#: Tokens joined by dots; in one that is not plain, * stands for one token and > for all that follow.
_parse_subject = _matching(r"(?:[^\s.>]+\.)*(?:[^\s.>]+|>)")
_parse_plain_subject = _matching(r"[^\s.*>]+(?:\.[^\s.*>]+)*")


def _parse_subject_prefix(node: Scalar) -> str:
    # A dot at the end, as some tools want it, adds nothing.
    return _parse_plain_subject(Scalar(node.line, node.value, node.text.rstrip("."))) if node.text else ""


def _parse_deliver(node: Scalar) -> str:
    """:returns: one of the words, a sequence, or a time in UTC as RFC 3339 has it."""
    text = node.text
    if text in ("new", "all", "last", "last_per_subject") or re.fullmatch(r"[1-9][0-9]{0,18}", text):
        return text
    # Servers show nanoseconds; Python 3.10 reads six digits, and no Z.
    text = re.sub(r"\.([0-9]+)", lambda fraction: f".{fraction[1]:0<6.6}", text)
    moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


_parse_path = _matching(r"(?a:(?:/[\w.~%-]+)+/?)")


def _parse_servers(node: Scalar) -> str:
    if "/" in node.text:
        return str(ipaddress.ip_network(node.text, strict=False))
    return parse_host(node.text).lower().rstrip(".")


def _positive_duration(node: Scalar) -> float:
    if not (value := parse_duration(node)):
        raise ValueError
    return value


def at_least(least: float, or_zero: bool = False) -> ScalarCheck:
    """A duration with a lower bound in seconds."""

    def parse(node: Scalar) -> float:
        value = parse_duration(node)
        if value < least and not (or_zero and value == 0):
            raise ValueError
        return value

    limit = f"{'0, or ' if or_zero else ''}at least {least:g}"
    bounds = _bounds("number", least, LONGEST, 0 if or_zero else None)
    return ScalarCheck(_SECONDS_TEXT.format(limit=limit), parse, schema=bounds)


def _bounds(kind: str, least: float, most: float | None, also: int | None) -> dict[str, Any]:
    """As JSON Schema has them."""
    bounds = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return {"type": kind, **(bounds if also is None else {"anyOf": [{"const": also}, bounds]})}


def _filled(node: Scalar) -> str:
    if not (text := parse_text(node)).strip():
        raise ValueError
    return text


def _or_empty(parse: Callable[[Scalar], Any], empty: Any) -> Callable[[Scalar], Any]:
    return lambda node: parse(node) if node.text else empty


def whole(least: int, most: int | None = None, also: int | None = None) -> ScalarCheck:
    """A whole number of a range, ends included; ``also`` is one more that is accepted."""
    limits = f"at least {least}" if most is None else f"{least} to {most}"

    def parse(node: Scalar) -> int:
        value = parse_whole(node)
        if value > LARGEST and most is None:
            raise ExplainedError(f"found {value}; expected a whole number up to {LARGEST}")
        if value != also and not (least <= value and (most is None or value <= most)):
            raise ValueError
        return value

    accepted = f"a whole number, {limits}" + (f", or {also}" if also is not None else "")
    return ScalarCheck(
        accepted, parse, schema=_bounds("integer", least, LARGEST if most is None else most, also)
    )


def meaning(values: Mapping[str, Any], text: str) -> Any:
    """
    :param values: what words stand for.
    :raises ValueError: the text is none of them.
    """
    if text not in values:
        raise ValueError
    return values[text]


def choice(*words: str) -> ScalarCheck:
    """One of some words."""
    accepted, values = " or ".join((", ".join(words[:-1]), words[-1])), dict(zip(words, words, strict=True))
    return ScalarCheck(accepted, lambda node: meaning(values, node.text), schema={"enum": list(words)})


def _parse_timezone(node: Scalar) -> ZoneInfo:
    try:
        return ZoneInfo(node.text)
    except (KeyError, OSError) as error:  # no such zone; a folder of zones
        raise ValueError from error


_ADDRESS_TEXT = "an address HOST:PORT, such as 0.0.0.0:9000, [::1]:9000 or :9000, with a port from 1 to 65535"
_SECONDS_TEXT = 'seconds, such as 9 or 0.5, or text such as "1m30s" or "500ms"; {limit}, up to 365 days'

TEXT = ScalarCheck("text", parse_text)
FILLED_TEXT = ScalarCheck("text that is not empty", _filled)
DURATION = ScalarCheck(_SECONDS_TEXT.format(limit="0 or more"), parse_duration)
POSITIVE_DURATION = ScalarCheck(_SECONDS_TEXT.format(limit="more than 0"), _positive_duration)
SIZE = ScalarCheck("a size, such as 6MiB, 500KiB, 1GiB or a number of bytes; at least 1", parse_size)
SIZE_OR_ZERO = ScalarCheck(
    "a size, such as 6MiB, 500KiB, 1GiB or a number of bytes; 0 for none", lambda node: parse_size(node, 0)
)
PORT = whole(1, 65535)
ADDRESS = ScalarCheck(_ADDRESS_TEXT, parse_address)
ADDRESS_OR_OFF = ScalarCheck(f'{_ADDRESS_TEXT}, or "" to turn it off', _or_empty(parse_address, None))
HOST_OR_EMPTY = ScalarCheck(
    "a host name or an IP address, without scheme and port", _or_empty(lambda node: parse_host(node.text), "")
)
HOST = ScalarCheck("a host name, without scheme and port", lambda node: parse_host(node.text))
HTTP_URL = ScalarCheck(
    "a URL http://HOST:PORT or https://HOST:PORT, perhaps with a path, without user name and query",
    parse_http_url,
)
HTTP_URL_OR_EMPTY = ScalarCheck(HTTP_URL.accepted, _or_empty(parse_http_url, ""))
CRON = ScalarCheck("a cron expression of 7, 6 or 5 fields", lambda node: Cron.parse(node.text), explains=True)
NATS_URL = ScalarCheck(
    "a URL nats://HOST:PORT (or tls, ws, wss), or several joined by commas", _parse_nats_url
)
# What a nats-server refuses in the names of streams and consumers.
NATS_NAME = ScalarCheck("a name without white space and . * > / \\", _matching(r"[^\s.*>/\\\x00-\x1f\x7f]+"))
PATH_PREFIX = ScalarCheck(
    "a path, such as /gateway or /api/service", lambda node: _parse_path(node).rstrip("/")
)
# It stands between slashes in a header.
ACCESS_KEY = ScalarCheck("text without white space and /", _matching(r"[\x21-\x2e\x30-\x7e]+"))
SERVERS = ScalarCheck(
    "a host name, an IP address or a CIDR range, such as 10.0.0.0/8, or first", _parse_servers
)
VARIABLES = ScalarCheck(
    "the name of an environment variable, or of several, such as AWS_*", _matching(r"[^=\s\0]+")
)
LEVEL = ScalarCheck(ACCEPTED, lambda node: level_name(node.text))
# Quotes around it are no wish for text. The words are those that YAML 1.1 has.
SWITCH = ScalarCheck("true or false", lambda node: meaning(_SWITCHES, node.text.strip().lower()))
TIMEZONE = ScalarCheck("a time zone's IANA name, such as UTC or Asia/Shanghai", _parse_timezone)
SUBJECT = ScalarCheck("a subject, such as orders.new, orders.* or orders.>", _parse_subject)
SUBJECT_PREFIX = ScalarCheck("a subject without * and >, such as _INBOX_orders", _parse_subject_prefix)
DELIVER = ScalarCheck(
    "new, all, last, last_per_subject, a stream sequence such as 1000, or a time with a zone such as "
    "2026-01-31T08:00:00Z",
    _parse_deliver,
)
PLAIN_SUBJECT_OR_EMPTY = ScalarCheck(
    "a subject without * and >, such as dead.orders", _or_empty(_parse_plain_subject, "")
)


def json_fault(value: Any) -> bool:
    """Whether JSON can't carry a value: dates, NaN, infinities, keys that are not text."""
    if isinstance(value, Mapping):
        return any(not isinstance(key, str) or json_fault(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(json_fault, value))
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is not None and not isinstance(value, (str, int))
