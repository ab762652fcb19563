"""What the node relies on of JetStream. Run with nats-server and with the server of `scfd.testing`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from scfd.config.nats import NatsSettings
from scfd.events.wire import from_json, to_json
from scfd.triggers.nats.access import Access
from scfd.triggers.nats.client import Message
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.jetstream import JetStreamError, call, publish

NANO = 1_000_000_000
#: Seconds: long enough for a real server on a busy machine to keep apart what comes before and after.
SHORT = 0.4

Body = Callable[[Any], Coroutine[Any, Any, None]]


def runs(body: Body) -> Callable[[Any], Any]:
    """Make a test of a coroutine, which may await Deferreds and asyncio."""

    def test(self: Any) -> Any:
        return self.run_body(body(self))

    return test


def access(url: str) -> Access:
    return Access.of(NatsSettings("t", url, "S", "c", "s.>"))


class JetStreamContract:
    """A mixin; ``run_body`` and `connection` are the server's."""

    connection: Connection
    assertEqual: Any  # noqa: N815 - trial's

    async def stream(self, **config: Any) -> None:
        await self.connection.up()
        body = {"name": "S", "subjects": ["s.>"], "storage": "memory", "retention": "limits", **config}
        await call(self.connection, f"$JS.API.STREAM.CREATE.{body['name']}", body)

    async def consumer(self, action: str = "create", name: str = "c", **config: Any) -> dict[str, Any]:
        body = {"durable_name": name, "ack_policy": "explicit", "deliver_policy": "all", **config}
        return await call(
            self.connection,
            f"$JS.API.CONSUMER.CREATE.S.{name}",
            {"stream_name": "S", "config": body, "action": action},
        )

    async def info(self, name: str = "c") -> dict[str, Any]:
        return await call(self.connection, f"$JS.API.CONSUMER.INFO.S.{name}")

    async def publish(self, *subjects: str) -> None:
        for subject in subjects:
            await self.connection.request(subject, b"", 2.0)

    async def inbox(self) -> tuple[str, list[Message]]:
        got: list[Message] = []
        inbox = self.connection.new_inbox()
        await self.connection.subscribe(inbox, got.append)
        return inbox, got

    def ask(self, inbox: str, batch: int, expires: float = 20.0, name: str = "c", **more: Any) -> None:
        request = to_json({"batch": batch, "expires": round(expires * NANO), **more})
        self.connection.send(f"$JS.API.CONSUMER.MSG.NEXT.S.{name}", request, inbox)

    async def pull(self, batch: int, expires: float = 20.0, **more: Any) -> list[Message]:
        inbox, got = await self.inbox()
        self.ask(inbox, batch, expires, **more)
        return got

    async def until(self, got: list[Message], count: int, seconds: float = 5.0) -> None:
        """Wait until so many have come."""
        for _ in range(round(seconds / 0.02)):
            if len(got) >= count:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{len(got)} messages, expected {count}")

    async def status(self, got: list[Message]) -> str:
        await self.until(got, 1)
        headers = got[0].headers or {}
        return f"{headers['Status']} {headers['Description']}"

    async def refusal(self, asked: Coroutine[Any, Any, Any]) -> int:
        try:
            await asked
        except JetStreamError as error:
            return error.code
        return 0

    def deliveries(self, got: list[Message]) -> list[tuple[int, int]]:
        """Stream sequence and number of each delivery."""
        parts = [message.reply.split(".") for message in got if message.reply]
        return [(int(one[5]), int(one[4])) for one in parts]

    @runs
    async def test_a_message_is_confirmed(self) -> None:
        await self.stream()
        responses = [
            from_json((await self.connection.request("s.a", b"x", 2.0, headers)).data)
            for headers in (None, {"Nats-Msg-Id": "1"}, {"Nats-Msg-Id": "1"}, {"Nats-Msg-Id": "2"})
        ]
        self.assertEqual([one["seq"] for one in responses], [1, 2, 2, 3])
        self.assertEqual([one.get("duplicate", False) for one in responses], [False, False, True, False])
        self.assertEqual(responses[0]["stream"], "S")
        try:
            await publish(self.connection, "other.a", b"", {})
        except JetStreamError as error:
            self.assertEqual(str(error), "no stream has the subject other.a")

    @runs
    async def test_what_is_not_there(self) -> None:
        await self.stream()
        self.assertEqual(await self.refusal(call(self.connection, "$JS.API.STREAM.INFO.OTHER")), 10059)
        self.assertEqual(await self.refusal(self.info("other")), 10014)
        self.assertEqual(await self.refusal(self.consumer("update")), 10149)

    @runs
    async def test_streams(self) -> None:
        await self.stream()
        await self.publish("s.a", "s.b")
        info = await call(self.connection, "$JS.API.STREAM.INFO.S")
        self.assertEqual(info["config"]["subjects"], ["s.>"])
        self.assertEqual([info["state"][name] for name in ("messages", "first_seq", "last_seq")], [2, 1, 2])
        self.assertEqual(await self.refusal(self.stream(name="T", subjects=["s.x"])), 10065)
        self.assertEqual(await self.refusal(self.stream(subjects=["t.>"])), 10058)
        self.assertEqual(await self.refusal(self.stream()), 0)

    @runs
    async def test_a_consumer_that_is_there(self) -> None:
        await self.stream()
        made = await self.consumer(ack_wait=7 * NANO)
        self.assertEqual(await self.refusal(self.consumer(ack_wait=7 * NANO)), 0)
        self.assertEqual(await self.refusal(self.consumer(ack_wait=8 * NANO)), 10148)
        updated = await self.consumer("update", ack_wait=8 * NANO)
        self.assertEqual((made["config"]["ack_wait"], updated["config"]["ack_wait"]), (7 * NANO, 8 * NANO))
        defaults = {"max_deliver": -1, "max_ack_pending": 1000, "max_waiting": 512, "deliver_policy": "all"}
        self.assertEqual({name: made["config"][name] for name in defaults}, defaults)

    @runs
    async def test_deliveries_and_acks(self) -> None:
        await self.stream()
        await self.consumer()
        await publish(self.connection, "s.a", b"body", {"Kind": "test"})
        await self.publish("s.b", "s.c")
        got = await self.pull(2)
        await self.until(got, 2)
        first = got[0]
        self.assertEqual((first.subject, first.data, first.headers), ("s.a", b"body", {"Kind": "test"}))
        self.assertEqual(first.reply.split(".")[:7], ["$JS", "ACK", "S", "c", "1", "1", "1"])
        self.assertEqual(first.reply.split(".")[8], "2")
        self.assertEqual(got[1].headers, None)
        response = await self.connection.request(got[0].reply, b"+ACK", 2.0)
        self.assertEqual(response.data, b"")
        info = await self.info()
        names = ("num_pending", "num_ack_pending", "num_redelivered", "num_waiting")
        self.assertEqual([info[name] for name in names], [1, 1, 0, 0])
        self.assertEqual(info["ack_floor"]["stream_seq"], 1)
        self.assertEqual((info["delivered"]["stream_seq"], info["delivered"]["consumer_seq"]), (2, 2))

    @runs
    async def test_silence_means_another_delivery(self) -> None:
        await self.stream()
        await self.consumer(ack_wait=round(SHORT * NANO))
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 2)
        self.assertEqual(self.deliveries(got[:2]), [(1, 1), (1, 2)])
        self.assertEqual((await self.info())["num_redelivered"], 1)

    @runs
    async def test_a_last_delivery(self) -> None:
        await self.stream()
        await self.consumer(ack_wait=round(SHORT * NANO), max_deliver=2)
        await self.publish("s.a")
        got = await self.pull(5)
        await asyncio.sleep(4 * SHORT)
        self.assertEqual(self.deliveries(got), [(1, 1), (1, 2)])
        self.assertEqual((await self.info())["num_ack_pending"], 0)
        stream = await call(self.connection, "$JS.API.STREAM.INFO.S")
        self.assertEqual(stream["state"]["messages"], 1)

    @runs
    async def test_naks(self) -> None:
        await self.stream()
        await self.consumer()
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 1)
        self.connection.respond(got[0].reply, b"-NAK")
        await self.until(got, 2, SHORT)
        self.connection.respond(got[1].reply, b"-NAK " + to_json({"delay": round(SHORT * NANO)}))
        await asyncio.sleep(SHORT / 2)
        self.assertEqual(len(got), 2)
        await self.until(got, 3)
        self.assertEqual(self.deliveries(got), [(1, 1), (1, 2), (1, 3)])

    @runs
    async def test_a_nak_of_the_last_delivery(self) -> None:
        await self.stream()
        await self.consumer(max_deliver=1)
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 1)
        self.connection.respond(got[0].reply, b"-NAK")
        await asyncio.sleep(SHORT)
        self.assertEqual(len(got), 1)

    @runs
    async def test_in_progress(self) -> None:
        await self.stream()
        await self.consumer(ack_wait=round(SHORT * NANO))
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 1)
        for _ in range(6):
            await asyncio.sleep(SHORT / 3)
            self.connection.send(got[0].reply, b"+WPI")
        self.assertEqual(len(got), 1)

    @runs
    async def test_ended(self) -> None:
        await self.stream()
        await self.consumer(ack_wait=round(SHORT * NANO))
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 1)
        self.connection.respond(got[0].reply, b"+TERM")
        await asyncio.sleep(2 * SHORT)
        self.assertEqual(len(got), 1)
        self.assertEqual((await self.info())["num_ack_pending"], 0)

    @runs
    async def test_delays_of_the_consumer(self) -> None:
        await self.stream()
        backoff = [round(SHORT / 2 * NANO), round(SHORT * 2 * NANO)]
        await self.consumer(backoff=backoff, max_deliver=3)
        await self.publish("s.a")
        got = await self.pull(5)
        await self.until(got, 2, SHORT * 1.5)
        await asyncio.sleep(SHORT)
        self.assertEqual(len(got), 2)
        await self.until(got, 3)

    @runs
    async def test_no_more_than_may_be_open(self) -> None:
        await self.stream()
        await self.consumer(max_ack_pending=2)
        await self.publish("s.a", "s.b", "s.c")
        got = await self.pull(5)
        await self.until(got, 2)
        await asyncio.sleep(SHORT / 2)
        self.assertEqual(len(got), 2)
        self.connection.respond(got[0].reply, b"+ACK")
        await self.until(got, 3)

    @runs
    async def test_requests_end(self) -> None:
        await self.stream()
        await self.consumer()
        await self.publish("s.a")
        got = await self.pull(3, SHORT)
        await self.until(got, 2)
        headers = got[1].headers or {}
        self.assertEqual((headers["Status"], headers["Description"]), ("408", "Request Timeout"))
        self.assertEqual(headers["Nats-Pending-Messages"], "2")
        await self.publish("s.b")
        await asyncio.sleep(SHORT / 2)
        self.assertEqual(len(got), 2)

    @runs
    async def test_signs_of_life(self) -> None:
        await self.stream()
        await self.consumer()
        got = await self.pull(1, 20.0, idle_heartbeat=round(SHORT / 2 * NANO))
        await self.until(got, 2)
        headers = got[0].headers or {}
        self.assertEqual((headers["Status"], headers["Description"]), ("100", "Idle Heartbeat"))

    @runs
    async def test_requests_that_are_refused(self) -> None:
        await self.stream()
        await self.consumer(max_waiting=1)
        await self.pull(1)
        self.assertEqual(await self.status(await self.pull(1)), "409 Exceeded MaxWaiting")
        got = await self.pull(1, 1.0, idle_heartbeat=NANO)
        self.assertEqual(await self.status(got), "400 Bad Request - heartbeat value too large")
        await self.consumer(name="empty")
        got = await self.pull(1, 0, name="empty", no_wait=True)
        self.assertEqual(await self.status(got), "404 No Messages")

    @runs
    async def test_requests_in_turn(self) -> None:
        await self.stream()
        await self.consumer()
        one, other = await self.pull(2), await self.pull(2)
        await self.publish("s.a", "s.b", "s.c", "s.d")
        await self.until(one, 2)
        await self.until(other, 2)
        sequences = [[number for number, _ in self.deliveries(got)] for got in (one, other)]
        self.assertEqual(sequences, [[1, 3], [2, 4]])

    @runs
    async def test_where_a_consumer_begins(self) -> None:
        await self.stream()
        await self.publish("s.a", "s.b", "s.c")
        kinds: dict[str, dict[str, Any]] = {
            "all": {"deliver_policy": "all"},
            "new": {"deliver_policy": "new"},
            "last": {"deliver_policy": "last"},
            "third": {"deliver_policy": "by_start_sequence", "opt_start_seq": 3},
            "early": {"deliver_policy": "by_start_time", "opt_start_time": "2020-01-01T00:00:00Z"},
            "some": {"deliver_policy": "all", "filter_subjects": ["s.b", "s.d"]},
            "one": {"deliver_policy": "all", "filter_subject": "s.c"},
        }
        for name, config in kinds.items():
            await self.consumer(name=name, **config)
        pending = {name: (await self.info(name))["num_pending"] for name in kinds}
        expected = {"all": 3, "new": 0, "last": 1, "third": 1, "early": 3, "some": 1, "one": 1}
        self.assertEqual(pending, expected)
        await self.publish("s.d")
        for name, sequences in (("new", [4]), ("last", [3, 4]), ("third", [3, 4]), ("some", [2, 4])):
            got = await self.pull(5, name=name)
            await self.until(got, len(sequences))
            self.assertEqual([number for number, _ in self.deliveries(got)], sequences, name)

    @runs
    async def test_a_consumer_that_is_deleted(self) -> None:
        await self.stream()
        await self.consumer()
        got = await self.pull(1)
        await self.info()
        await call(self.connection, "$JS.API.CONSUMER.DELETE.S.c")
        await self.until(got, 1)
        headers = got[0].headers or {}
        self.assertEqual((headers["Status"], headers["Description"]), ("409", "Consumer Deleted"))
        self.assertEqual(await self.refusal(self.info()), 10014)

    @runs
    async def test_a_work_queue(self) -> None:
        await self.stream(retention="workqueue")
        self.assertEqual(await self.refusal(self.consumer(deliver_policy="new")), 10101)
        await self.consumer(filter_subject="s.*")
        self.assertEqual(await self.refusal(self.consumer(name="d")), 10099)
        self.assertEqual(await self.refusal(self.consumer(name="d", filter_subject="s.a")), 10100)
        await self.publish("s.a", "s.b")
        got = await self.pull(2)
        await self.until(got, 2)
        await self.connection.request(got[0].reply, b"+ACK", 2.0)
        state = (await call(self.connection, "$JS.API.STREAM.INFO.S"))["state"]
        self.assertEqual([state[name] for name in ("messages", "first_seq", "last_seq")], [1, 2, 2])
