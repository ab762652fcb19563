"""Consumers as their operators make them: what scfd changes and what it keeps, on a real nats-server."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from scfd.deferreds import from_asyncio
from scfd.errors import PluginError
from scfd.events.event import TriggerEvent
from scfd.triggers.nats import trigger as trigger_module
from tests.integration.daemon import free_ports, reactor, until
from tests.integration.nats_servers import Server
from tests.integration.test_nats import NatsCase, Node

SECOND = 1_000_000_000


def pause(seconds: float) -> Awaitable[None]:
    return deferLater(reactor, seconds, lambda: None)


class ConsumersCase(NatsCase):
    """
    :ivar lines: what triggers have logged.
    """

    config = ""

    async def begin(self) -> None:
        self.lines: list[str] = []
        observer: Any = self.logged
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        if self.config:
            path = Path(self.mktemp())
            path.write_text(self.config)
            self.server = Server(Path(self.mktemp()), "-c", str(path))
            self.addCleanup(self.server.clean_up)
        await super().begin()

    def logged(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "scfd.nats":
            self.lines.append(formatEvent(event))

    def said(self, part: str) -> list[str]:
        return [line for line in self.lines if part in line]

    async def make(self, **config: Any) -> dict[str, Any]:
        """Make a consumer as an operator does. :returns: its config."""
        body = {
            "stream_name": "S",
            "config": {"durable_name": "c", "name": "c", "ack_policy": "explicit", **config},
        }
        made: dict[str, Any] = (await self.api("CONSUMER.CREATE.S.c", body))["config"]
        return made

    async def consumer_config(self, stream: str = "S") -> dict[str, Any]:
        found: dict[str, Any] = (await self.api(f"CONSUMER.INFO.{stream}.c"))["config"]
        return found

    async def has_request(self) -> bool:
        return bool((await self.api("CONSUMER.INFO.S.c"))["num_waiting"])

    async def gets(self, node: Node, *bodies: Any) -> None:
        await self.so(lambda: node.bodies == list(bodies), f"{bodies}")

    def rebinds(self, node: Node) -> float:
        return float(node.metrics.nats_rebinds.labels("q").value)


class KeptTests(ConsumersCase):
    """What the config file does not set stays as it is, and the node works with it."""

    async def test_nothing_changes(self) -> None:
        made = await self.make(
            ack_wait=7 * SECOND,
            max_deliver=9,
            max_ack_pending=1,
            filter_subjects=["s.a", "s.b.*"],
            metadata={"owner": "ops"},
        )
        node = self.node(concurrency=4)
        await self.bound(node)
        self.assertEqual(await self.consumer_config(), made)
        await self.publish(1, 2, 3)
        await self.gets(node, 1, 2, 3)
        self.assertEqual(
            self.lines[1:],
            [
                "q: consumer c of stream S delivers s.a, s.b.*, narrower than the trigger's s.>, and stays "
                "like that",
                "q: consumer c of stream S has max_ack_pending 1, which limits concurrency 4",
                "q: consuming s.a, s.b.* of stream S as c",
            ],
        )

    async def test_a_consumer_of_the_whole_stream(self) -> None:
        """The trigger's subject covers the stream: there is nothing to narrow."""
        made = await self.make()
        await self.bound(self.node())
        self.assertEqual(await self.consumer_config(), made)

    async def test_its_backoff_is_the_ack_wait(self) -> None:
        await self.make(backoff=[2 * SECOND, SECOND], max_deliver=5)
        node = self.node(ack_wait=20.0)
        node.act = lambda event: deferLater(reactor, 2.3, lambda: None)
        await self.bound(node)
        await self.publish("slow")
        await self.so(lambda: node.count("ack"), "handled")
        self.assertEqual(node.metrics.redeliveries.labels("q").value, 0)
        text = "has a backoff of its own (2 s, 1 s), which replaces ack_wait 20 s"
        self.assertEqual(len(self.said(text)), 1, self.lines)
        self.assertEqual(self.said("changed"), [])

    async def test_its_max_deliver_decides_about_the_dead_letter(self) -> None:
        await self.add_stream("D", "dead.>")
        await self.make(max_deliver=2)
        node = self.node(dead_letter="dead.q", backoff=(0.05,))

        def act(event: TriggerEvent) -> None:
            raise PluginError("no")

        node.act = act
        await self.bound(node)
        await self.publish("poison")
        await self.so(lambda: node.count("dead letter"), "buried")
        self.assertEqual(len(node.events), 2)

    async def test_limits_of_pull_requests(self) -> None:
        await self.make(max_batch=2, max_expires=SECOND // 2, max_waiting=2, max_bytes=1000)
        node = self.node(batch_size=50, concurrency=20)
        await self.bound(node)
        await self.publish(*range(30))
        await self.so(lambda: len(node.events) == 30, "all")
        await pause(1.2)
        await self.publish("later")
        await self.so(lambda: len(node.events) == 31, "the last")
        self.assertEqual((self.rebinds(node), node.problems), (0, []))
        self.assertEqual(len(self.said("has max_batch 2, which limits batch_size 50")), 1)

    async def test_nodes_that_share_few_pull_requests(self) -> None:
        await self.make(max_waiting=1)
        first = self.node(fetch_max_wait=2.5)
        await self.bound(first)
        await until(self.has_request, "the only request")
        second = self.node(fetch_max_wait=2.5)
        text = "other nodes use up max_waiting of consumer c"
        await self.so(lambda: second.problems == [text], "said")
        await first.stop()
        await self.publish(*range(20))
        await self.gets(second, *range(20))
        await self.bound(second)
        self.assertEqual(len(self.said(text)), 1)

    async def test_nodes_that_share_few_short_pull_requests(self) -> None:
        """The server refuses those that have no heartbeats."""
        await self.make(max_waiting=1)
        nodes = self.node(fetch_max_wait=0.5), self.node(fetch_max_wait=0.5)
        for node in nodes:
            await self.bound(node)
        await self.so(lambda: self.said("other nodes use up the consumer's max_waiting"), "said")
        await self.publish(*range(20))
        await self.so(lambda: sum(len(node.events) for node in nodes) == 20, "all")
        self.assertEqual(sum(map(self.rebinds, nodes)), 0)

    async def test_limits_that_change_while_the_node_runs(self) -> None:
        await self.make(max_batch=50)
        node = self.node(batch_size=20, concurrency=20, fetch_max_wait=0.5)
        await self.bound(node)
        await self.make(max_batch=3)
        await self.publish(*range(40))
        await self.so(lambda: len(node.events) == 40, "all")

    async def test_pinned_clients(self) -> None:
        """All messages go to one node; the other waits, and is well."""
        self.patch(trigger_module, "LOOK_INTERVAL", 0.1)
        self.patch(trigger_module, "LAG_INTERVAL", 0.2)
        await self.make(
            priority_groups=["g"],
            priority_policy="pinned_client",
            priority_timeout=30 * SECOND,
            ack_wait=5 * SECOND,  # of a message that is sent to the inbox of before the moment
        )
        first, second = self.node(fetch_max_wait=2.5), self.node(fetch_max_wait=2.5)
        await self.bound(first)
        await self.bound(second)
        await self.publish(*range(30))
        await self.so(lambda: len(first.events) + len(second.events) == 30, "all")
        pinned, other = (first, second) if first.events else (second, first)
        # It keeps its pin while its plugin is away for a moment.
        pinned.availability.set(False)
        pinned.availability.set(True)
        await self.publish("more")
        await self.so(lambda: len(pinned.events) == 31, "the next one")
        gate: Deferred[None] = Deferred()
        pinned.act = lambda event: gate
        await self.publish(*range(5))
        await pause(2.5)
        self.assertEqual((len(pinned.events), len(other.events)), (32, 0))
        self.assertEqual(self.rebinds(first) + self.rebinds(second), 0)
        self.assertEqual(first.problems + second.problems, [])
        gate.callback(None)

    async def test_a_paused_consumer(self) -> None:
        self.patch(trigger_module, "LOOK_INTERVAL", 0.1)
        self.patch(trigger_module, "LAG_INTERVAL", 0.2)
        self.patch(trigger_module, "PAUSED_INTERVAL", 0.2)
        node = self.node()
        await self.bound(node)
        until = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat(timespec="seconds")
        until = until.replace("+00:00", "Z")
        await self.api("CONSUMER.PAUSE.S.c", {"pause_until": until})
        await self.publish(1, 2)
        await self.so(lambda: node.problems == [f"consumer c is paused until {until}"], "said")
        await pause(1)
        self.assertEqual((self.rebinds(node), node.events), (0, []))
        self.assertEqual(node.metrics.nats_paused.labels("q")._value.get(), 1)
        self.assertEqual(len(self.said("paused until")), 1)
        # A node that starts now sees it as well, and changes nothing of it.
        other = self.node(max_deliver=7)
        await self.so(lambda: other.problems == node.problems, "said")
        await self.api("CONSUMER.PAUSE.S.c", {})
        await self.so(lambda: len(node.events) + len(other.events) == 2, "messages")
        await self.bound(node)
        self.assertEqual(node.metrics.nats_paused.labels("q")._value.get(), 0)


class AppliedTests(ConsumersCase):
    """What the config file sets is applied, and said when that changes a consumer."""

    async def test_one_line_with_each_change(self) -> None:
        await self.make(ack_wait=7 * SECOND, filter_subjects=["t.a"], description="mine")
        node = self.node(ack_wait=2.0, max_deliver=5, max_ack_pending=17)
        await self.bound(node)
        config = await self.consumer_config()
        names = ("ack_wait", "max_deliver", "max_ack_pending", "filter_subject", "description")
        self.assertEqual([config[name] for name in names], [2 * SECOND, 5, 17, "s.>", "mine"])
        self.assertEqual(
            self.said("changed"),
            [
                "q: changed consumer c of stream S: ack_wait 7 s -> 2 s, max_deliver -1 -> 5, "
                "max_ack_pending 1000 -> 17, subjects t.a -> s.>"
            ],
        )
        await node.stop()
        self.lines.clear()
        await self.bound(self.node(ack_wait=2.0, max_deliver=5, max_ack_pending=17))
        self.assertEqual(self.said("changed"), [])

    async def test_several_subjects(self) -> None:
        node = self.node(subject="", subjects=("s.a", "s.c.>"))
        await self.bound(node)
        self.assertEqual((await self.consumer_config())["filter_subjects"], ["s.a", "s.c.>"])
        for subject in ("s.a", "s.b", "s.c.d"):
            await from_asyncio(self.js.publish(subject, json.dumps(subject).encode()))
        await self.gets(node, "s.a", "s.c.d")

    async def test_what_is_refused_is_said_once(self) -> None:
        await self.make(backoff=[SECOND, SECOND, SECOND], max_deliver=5)
        node = self.node(max_deliver=2)
        text = (
            "consumer c of stream S can't be updated (max_deliver 5 -> 2): max deliver is required to be > "
            "length of backoff values (error 10116)"
        )
        await self.so(lambda: node.problems == [text], "said")
        await pause(2)
        self.assertEqual(self.said("consumer c"), [f"q: {text}"])

    async def test_what_can_not_be_used_is_said_once(self) -> None:
        await self.not_used("is a push consumer; expected a pull consumer", deliver_subject="x")
        await self.not_used("has ack_policy none; expected explicit", ack_policy="none")
        await self.not_used("has max_expires 0.001 s; expected at least 0.1 s", max_expires=SECOND // 1000)

    async def not_used(self, why: str, **config: Any) -> None:
        await self.make(**config)
        self.lines.clear()
        node = self.node()
        text = f"consumer c of stream S {why}: choose another consumer_name, or delete it"
        await self.so(lambda: node.problems == [text], text)
        await pause(1.2)
        self.assertEqual(self.said("consumer c"), [f"q: {text}"])
        await node.stop()
        await self.api("CONSUMER.DELETE.S.c")

    async def test_nodes_that_make_it_at_the_same_time(self) -> None:
        nodes = [self.node(max_deliver=number) for number in (2, 3, 4)]
        for node in nodes:
            await self.bound(node)
        self.assertEqual(len(self.said("made consumer c")), 1)


class BindTests(ConsumersCase):
    async def test_a_consumer_that_is_missing_and_then_there(self) -> None:
        node = self.node(subject="", bind=True)
        text = "there is no consumer c of stream S; make it, or let the node make it without bind: true"
        await self.so(lambda: node.problems == [text], "said")
        made = await self.make(max_deliver=1, filter_subject="s.a")
        await self.bound(node)
        await self.publish(1)
        await self.gets(node, 1)
        self.assertEqual(await self.consumer_config(), made)

    async def test_a_stream_that_is_missing(self) -> None:
        node = self.node(stream="T", subject="", bind=True)
        text = "there is no stream T; make it, and its consumer"
        await self.so(lambda: node.problems == [text], "said")
        await pause(1.5)
        self.assertEqual(self.said("no stream"), [f"q: {text}"])

    async def test_other_subjects_are_said(self) -> None:
        made = await self.make(filter_subject="s.a")
        await self.bound(self.node(subject="s.b", bind=True))
        self.assertEqual(await self.consumer_config(), made)
        self.assertEqual(len(self.said("delivers s.a, different from the trigger's s.b")), 1)


class BeginningTests(ConsumersCase):
    async def test_where_a_consumer_begins(self) -> None:
        for number in range(1, 5):
            subject = "s.a" if number < 3 else "s.b"
            await from_asyncio(self.js.publish(subject, b"%d" % number))
        third = (await self.api("STREAM.MSG.GET.S", {"seq": 3}))["message"]["time"]
        for deliver, bodies in (
            ("new", []),
            ("all", [1, 2, 3, 4]),
            ("last", [4]),
            ("last_per_subject", [2, 4]),
            ("2", [2, 3, 4]),
            (third, [3, 4]),
        ):
            node = self.node(deliver=deliver)
            await self.bound(node)
            await self.gets(node, *bodies)
            self.assertEqual(
                bool(self.said(f"made consumer c of stream S, deliver by_start_time {third}")),
                deliver == third,
            )
            await node.stop()
            await self.api("CONSUMER.DELETE.S.c")

    async def test_an_existing_one_stays_where_it_is(self) -> None:
        made = await self.make(deliver_policy="new")
        node = self.node(deliver="all")
        await self.bound(node)
        self.assertEqual(await self.consumer_config(), made)

    async def test_a_work_queue(self) -> None:
        await self.api("STREAM.CREATE.W", {"name": "W", "subjects": ["w.>"], "retention": "workqueue"})
        await from_asyncio(self.js.publish("w.a", b"1"))
        node = self.node(stream="W", subject="w.>")
        await self.gets(node, 1)
        self.assertEqual((await self.consumer_config("W"))["deliver_policy"], "all")
        await self.api("CONSUMER.DELETE.W.c")
        await from_asyncio(self.js.publish("w.a", b"2"))
        await self.gets(node, 1, 2)
        # The server allows one consumer for each message: that is said once.
        second = self.node(stream="W", subject="w.a", consumer_name="d")
        text = "consumer d of stream W can't be made: filtered consumer not unique on workqueue stream"
        text += " (error 10100)"
        await self.so(lambda: second.problems == [text], "said")
        await pause(2)
        self.assertEqual(len(self.said("consumer d")), 1)

    async def test_a_limit_of_the_stream(self) -> None:
        limits = {"max_ack_pending": 50}
        await self.api("STREAM.CREATE.L", {"name": "L", "subjects": ["l.>"], "consumer_limits": limits})
        node = self.node(stream="L", subject="l.>")
        await self.bound(node)
        self.assertEqual((await self.consumer_config("L"))["max_ack_pending"], 50)
        more = self.node(stream="L", subject="l.>", consumer_name="d", max_ack_pending=51)
        text = "consumer max ack pending exceeds system limit of 50"
        await self.so(lambda: text in "".join(more.problems), "said")


class ServerLimitTests(ConsumersCase):
    config = "jetstream { domain: hub, limits { max_ack_pending: 200, max_request_batch: 5 } }"

    async def test_limits_of_the_server(self) -> None:
        node = self.node(batch_size=20, concurrency=20)
        await self.bound(node)
        self.assertEqual((await self.consumer_config())["max_ack_pending"], 200)
        await self.publish(*range(50))
        await self.so(lambda: len(node.events) == 50, "all")
        self.assertEqual(self.rebinds(node), 0)

    async def test_domain_and_prefixes(self) -> None:
        first = self.node(domain="hub", inbox_prefix="_INBOX_q")
        second = self.node(api_prefix="$JS.hub.API", consumer_name="d")
        await self.bound(first)
        await self.bound(second)
        await self.publish(1)
        await self.gets(first, 1)
        await self.gets(second, 1)
        self.assertEqual(first.events[0].metadata["stream"], "S")
        other = self.node(domain="rim")
        await self.so(lambda: other.problems != ["not connected yet"], "no such domain")


class LeafTests(ConsumersCase):
    """The stream is in another domain than the server that the node is connected to."""

    config = "jetstream { domain: hub }, leafnodes { host: 127.0.0.1, port: %d }"

    async def begin(self) -> None:
        [port] = free_ports(1)
        self.config = self.config % port
        await super().begin()
        path = Path(self.mktemp())
        remote = f'leafnodes {{ remotes: [{{ url: "nats-leaf://127.0.0.1:{port}" }}] }}'
        path.write_text(f"jetstream {{ domain: leaf }}, {remote}")
        self.leaf = Server(Path(self.mktemp()), "-c", str(path), name="leaf")
        self.addCleanup(self.leaf.clean_up)
        await self.leaf.start()

    async def test_a_stream_of_the_hub(self) -> None:
        node = self.node(url=self.leaf.url, domain="hub")
        await self.bound(node)
        await self.publish(1, 2)
        await self.gets(node, 1, 2)
        await self.settled()
        metadata = node.events[1].metadata
        self.assertEqual((metadata["stream"], metadata["stream_sequence"]), ("S", "2"))


class PermissionTests(ConsumersCase):
    config = """
        accounts {
            A {
                jetstream: enabled
                users: [
                    {user: ops, password: o}
                    {user: q, password: q, permissions: {
                        publish: [
                            "$JS.API.CONSUMER.INFO.S.c", "$JS.API.CONSUMER.MSG.NEXT.S.c", "$JS.ACK.S.c.>"
                        ]
                        subscribe: "_INBOX_q.>"
                    }}
                ]
            }
        }
        no_auth_user: ops
    """

    async def test_what_bind_needs(self) -> None:
        await self.make()
        node = self.node(bind=True, inbox_prefix="_INBOX_q", user="q", password="q")
        await self.bound(node)
        await self.publish(1)
        await self.gets(node, 1)
        await self.settled()
