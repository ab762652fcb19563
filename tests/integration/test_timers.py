"""Timers of a daemon that really was frozen."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.integration.daemon import ROOT, Daemon, free_ports, reactor, until
from tests.integration.node import asynchronous

#: Seconds for which the daemon is stopped.
FROZEN = 6


class FrozenTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        config = {
            "system": {"name": "n", "node_id": "n", "state_dir": str(self.folder / "state")},
            "admin": {"listen": f"127.0.0.1:{free_ports(1)[0]}"},
            "adapter": {"native": "recorder", "path": str(ROOT / "tests/integration/plugins")},
            "triggers": [
                {"name": rule, "type": "timer", "settings": {"cron": "* * * * * * *", "misfire": rule}}
                for rule in ("all", "once", "skip")
            ],
            "plugin": {"events": str(self.folder / "events.jsonl")},
        }
        self.daemon = Daemon(json.dumps(config), self.folder)
        self.addCleanup(self.daemon.clean_up)

    def events(self) -> list[Any]:
        file = self.folder / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def moments(self, name: str) -> list[int]:
        """The seconds of a trigger's events."""
        return [moment(event) for event in self.events() if event["name"] == name]

    async def freeze(self) -> None:
        """Stop and continue the daemon, and wait until every trigger has fired on time again."""
        self.daemon.start()
        await until(self.fired, "a fire")
        await deferLater(reactor, 0.1)  # an event under way would make `once` leave out its next one
        before = max(self.moments("all"))
        self.daemon.send(signal.SIGSTOP)
        await deferLater(reactor, FROZEN)
        self.daemon.send(signal.SIGCONT)

        async def on_time_again() -> bool:
            last = {event["name"]: event for event in self.events()}.values()
            return all(moment(e) >= before + FROZEN and "missed_fires" not in e["metadata"] for e in last)

        await until(on_time_again, "fires after the standstill")
        self.assertEqual(await self.daemon.stop(), 0, self.daemon.output)

    async def fired(self) -> bool:
        return len({event["name"] for event in self.events()}) == 3

    @asynchronous
    async def test_each_misfire_rule(self) -> None:
        await self.freeze()
        every = self.moments("all")
        self.assertEqual(every, list(range(every[0], every[-1] + 1)))
        made_up = self.made_up("all")
        self.assertIn(len(made_up), (FROZEN, FROZEN + 1))  # as many whole seconds as lie in it
        self.assertEqual({event["metadata"]["missed_fires"] for event in made_up}, {"1"})

        [once] = self.made_up("once")
        self.assertEqual(once["metadata"]["missed_fires"], str(len(made_up)))
        self.assertEqual(moment(once), moment(made_up[-1]))

        self.assertEqual(self.made_up("skip"), [])
        left_out = set(every) - set(self.moments("skip"))
        self.assertEqual(left_out, {moment(event) for event in made_up})

        fires = 3 * len(made_up)
        told = [line for line in self.daemon.output.splitlines() if "stood still" in line]
        self.assertEqual(len(told), 1, told)
        self.assertRegex(told[0], rf"the process stood still for \d\.\d s: {fires} timer fires were missed")

    def made_up(self, name: str) -> list[Any]:
        events = [event for event in self.events() if event["name"] == name]
        return [event for event in events if "missed_fires" in event["metadata"]]


def moment(event: Any) -> int:
    """Seconds since the epoch."""
    return int(datetime.fromisoformat(event["metadata"]["fire_time"].replace("Z", "+00:00")).timestamp())
