"""Tests for scfd.triggers.timer.zone."""

from __future__ import annotations

import os
from datetime import datetime, timezone, tzinfo
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

from twisted.trial.unittest import SynchronousTestCase

from scfd.errors import StartupError
from scfd.triggers.timer.zone import process_zone


def offsets(zone: tzinfo) -> list[float]:
    """Hours in winter, in summer, and in the Ramadan of 2026."""
    moments = (datetime(2026, 1, 5), datetime(2026, 7, 5), datetime(2026, 3, 1))
    return [moment.replace(tzinfo=zone).utcoffset().total_seconds() / 3600 for moment in moments]  # type: ignore[union-attr]


class VariableTests(SynchronousTestCase):
    def test_names(self) -> None:
        for name in ("Europe/Dublin", "Africa/Casablanca", "UTC", "EST5EDT"):
            self.assertEqual(process_zone({"TZ": name}), ZoneInfo(name))
            self.assertEqual(process_zone({"TZ": f":{name}"}), ZoneInfo(name))

    def test_daylight_saving_that_is_negative(self) -> None:
        self.assertEqual(offsets(process_zone({"TZ": "Europe/Dublin"})), [0, 1, 0])
        self.assertEqual(offsets(process_zone({"TZ": "Africa/Casablanca"})), [1, 1, 0])

    def test_empty(self) -> None:
        self.assertEqual(process_zone({"TZ": ""}), timezone.utc)

    def test_rules(self) -> None:
        self.assertEqual(offsets(process_zone({"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"})), [1, 2, 1])
        self.assertEqual(offsets(process_zone({"TZ": "<+0530>-5:30"})), [5.5] * 3)

    def test_what_is_no_zone(self) -> None:
        for name in (
            "Foo",
            "Europe/Nowhere",
            "Europe",
            "../x",
            "/etc/passwd",
            "/nowhere",
            "A\nB",
            "ü",
            "EST5EDT4",
        ):
            error = str(self.assertRaises(StartupError, process_zone, {"TZ": name}))
            self.assertTrue(error.startswith(f"TZ: found {name!r}; expected an IANA name such as"), error)
            self.assertNotIn("\n", error)


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.file = self.folder / "zoneinfo/Europe/Dublin"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes((files("tzdata") / "zoneinfo/Europe/Dublin").read_bytes())
        self.localtime = self.folder / "localtime"

    def zone(self) -> tzinfo:
        return process_zone({}, self.localtime)

    def test_a_link(self) -> None:
        os.symlink(self.file, self.localtime)
        self.assertEqual(self.zone(), ZoneInfo("Europe/Dublin"))

    def test_bytes(self) -> None:
        self.localtime.write_bytes(self.file.read_bytes())
        self.assertEqual(offsets(self.zone()), [0, 1, 0])

    def test_none(self) -> None:
        self.assertEqual(self.zone(), timezone.utc)

    def test_damaged(self) -> None:
        self.localtime.write_bytes(b"not a zone")
        error = str(self.assertRaises(StartupError, self.zone))
        self.assertTrue(error.startswith(f"{self.localtime}: expected the file of a time zone"), error)

    def test_a_file_by_its_path(self) -> None:
        own = self.folder / "own"
        own.write_bytes(self.file.read_bytes())
        self.assertEqual(offsets(process_zone({"TZ": str(own)})), [0, 1, 0])
