"""The config against any input: it is taken, or its mistakes are told; nothing else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import load
from scfd.config.checks import LONGEST, parse_address, parse_duration, parse_size
from scfd.config.findings import without_credentials
from scfd.config.schema import keys_of
from scfd.config.tree import Scalar
from scfd.config.values import TRIGGERS, Config
from scfd.errors import ConfigError
from tests.properties import given

SECTIONS = [*sorted(keys_of(Config)), "dns_proxy"]
KEYS = sorted(
    {
        "name",
        "type",
        "settings",
        "http",
        "control_plane",
        "nats",
        "streams",
        "subjects",
        "listen",
        "port",
        "<<",
    }
    | {"server_ip", "server_port", "interval", "max_body", "url", "cron", "stream", "command", "tasks"}
)
ODD = [
    "${A}",
    "${B:-x}",
    "${",
    "$$",
    "nats://a:b@c",
    "http://[",
    "timer",
    "nats",
    "1m",
    "5MiB",
    ":1",
    "* * * * *",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.sampled_from(ODD)
    | st.text(max_size=8)
)
TREES = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inside, max_size=4),
    max_leaves=12,
)
YAML_TEXT = st.lists(
    st.sampled_from(
        [*KEYS, *ODD, *SECTIONS, ": ", "- ", "\n", "  ", "{", "}", "[", "]", "&a ", "*a", "!!int ", '"']
    )
    | st.text(max_size=3)
).map("".join)


def scalar(value: Any) -> Scalar:
    return Scalar(1, value, str(value))


class AnyInput(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def check(self, data: bytes) -> None:
        """Raises what `load` raises, but for the one exception that it may."""
        self.path.write_bytes(data)
        try:
            load(str(self.path), {"A": "hidden"}, str(self.path))
        except ConfigError as error:
            lines = str(error).split("\n")
            self.assertEqual(len(lines), len(error.mistakes))
            self.assertTrue(all(line.startswith(str(self.path)) for line in lines), lines)
            self.assertNotIn("hidden", str(error))

    @given(st.binary(max_size=40))
    def test_bytes(self, data: bytes) -> None:
        self.check(data)

    @given(YAML_TEXT)
    def test_yaml_like_text(self, text: str) -> None:
        self.check(text.encode("utf-8", "replace"))

    @given(st.dictionaries(st.sampled_from(SECTIONS), TREES, max_size=4))
    def test_structures(self, tree: Any) -> None:
        self.check(yaml.safe_dump(tree).encode())

    @given(st.sampled_from(sorted(TRIGGERS)), TREES)
    def test_triggers(self, kind: str, inside: Any) -> None:
        tree = {"triggers": [{"name": "t", "type": kind, "settings": inside}]}
        self.check(yaml.safe_dump(tree).encode())

    @given(TREES)
    def test_second_file(self, inside: Any) -> None:
        service = {"protocol": "timer", "name": "heartbeat", "network": inside}
        self.check(
            yaml.safe_dump({"server": {"service": [service, {"protocol": "http", "port": inside}]}}).encode()
        )

    @given(TREES)
    def test_plugin_untouched(self, tree: Any) -> None:
        """Without a $ in it, the plugin's part is what YAML says it is."""
        text = yaml.safe_dump({"plugin": {"tree": tree}}).replace("$", "S").replace("<<", "KK")
        self.path.write_text(text)
        # repr, since NaN is not equal to itself.
        self.assertEqual(repr(load(str(self.path), {}).plugin), repr(yaml.safe_load(text)["plugin"]))


class RoundTrips(SynchronousTestCase):
    @given(st.integers(0, 8000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
    def test_durations(self, hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
        expected = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
        text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
        self.assertAlmostEqual(parse_duration(scalar(text)), expected, places=6)

    @given(st.floats(0, LONGEST))
    def test_plain_durations(self, seconds: float) -> None:
        self.assertEqual(parse_duration(scalar(seconds)), seconds)
        self.assertEqual(parse_duration(scalar(repr(seconds))), seconds)

    @given(st.integers(1, 10**6), st.sampled_from([("", 1), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)]))
    def test_sizes(self, number: int, unit: tuple[str, int]) -> None:
        self.assertEqual(parse_size(scalar(f"{number}{unit[0]}")), number * unit[1])

    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_addresses(self, ip: Any, port: int) -> None:
        text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
        address = parse_address(scalar(text))
        self.assertEqual((address.host, address.port, str(address)), (str(ip), port, text))


class Credentials(SynchronousTestCase):
    def test_masked(self) -> None:
        for url, masked in {
            "nats://h:4222": "nats://h:4222",
            "nats://token@h": "nats://***@h",
            "nats://a:p@w@h,tls://b:c/d@i": "nats://***@h,tls://***@i",
            "a:b@h": "***@h",
            "nats://a,b:c://d@h": "nats://***@h",
        }.items():
            self.assertEqual(without_credentials(url), masked)

    @given(st.text(), st.text(alphabet="abc.:0123456789"))
    def test_password_gone(self, password: str, host: str) -> None:
        """Whatever is in a password, even unescaped, none of it is left."""
        self.assertEqual(
            without_credentials(f"nats://{password.replace('://', '')}@{host}"), f"nats://***@{host}"
        )
