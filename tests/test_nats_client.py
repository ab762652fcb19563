"""Tests for scfd.triggers.nats.client."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from nats.aio.client import Client as NatsClient
from nats.aio.subscription import Subscription
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from scfd.deferreds import from_asyncio
from scfd.errors import StartupError
from scfd.triggers.nats.client import UNREADABLE, Client, check_nats_py, parse_headers
from tests.properties import given


class HeaderTests(SynchronousTestCase):
    def test_headers(self) -> None:
        cases: list[tuple[bytes, dict[str, str]]] = [
            (b"NATS/1.0\r\nA: b\r\nC:d\r\n\r\n", {"A": "b", "C": "d"}),
            (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
            (b"NATS/1.0 100\r\nX: 1\r\n\r\n", {"Status": "100", "X": "1"}),
            (b"NATS/1.0\r\nA: 1\r\nA: 2\r\na: 3\r\n\r\n", {"A": "1, 2", "a": "3"}),
            ("NATS/1.0\r\nÄ: ü\r\n\r\n".encode(), {"Ä": "ü"}),
            (b"NATS/1.0\r\nA: \xff\r\n\r\n", {"A": "\\xff"}),
            (b"NATS/1.0\r\nA:\r\n\r\n", {"A": ""}),
            (b"NATS/1.0\r\nT: 12:30\r\n\r\n", {"T": "12:30"}),
            (b"NATS/1.0\r\n\r\n", {UNREADABLE: "headers"}),
            (b"NATS/1.0", {UNREADABLE: "headers"}),
            (b"", {UNREADABLE: "headers"}),
            (b"HTTP/1.1\r\nA: b\r\n\r\n", {"A": "b", UNREADABLE: "headers"}),
            (b"NATS/1.0\r\nA: b\r\nno header\r\n: c\r\n\r\n", {"A": "b", UNREADABLE: "headers"}),
        ]
        for block, expected in cases:
            self.assertEqual(parse_headers(block), expected, block)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, block: bytes) -> None:
        for name, value in parse_headers(b"NATS/1.0" + block).items():
            self.assertTrue(name)
            (name + value).encode()


class ClientTests(TestCase):
    """On the parser of nats-py itself."""

    def feed(self, data: bytes) -> Deferred[list[Any]]:
        async def run() -> list[Any]:
            client = Client()
            client._subs[1] = subscription = Subscription(client, 1, "s")
            await client._ps.parse(data)
            return [subscription._pending_queue.get_nowait() for _ in range(subscription.pending_msgs)]

        return from_asyncio(run())

    def test_odd_messages_do_not_end_the_reading(self) -> Deferred[None]:
        """And their neighbours are not affected."""

        async def check() -> None:
            good = b"MSG s 1 r 2\r\nhi\r\n"
            messages = await self.feed(
                good
                + b"MSG s.\xff\xfe 1 r 2\r\nhi\r\n"
                + good
                + b"HMSG s 1 r 8 10\r\nNATS/1.0hi\r\n"
                + good
                + b"HMSG s.\xff 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n"
            )
            self.assertEqual({bytes(message.data) for message in messages}, {b"hi"})
            found = [(message.subject, message.headers) for message in messages]
            plain = ("s", None)
            expected = [
                plain,
                ("s.\\xff\\xfe", {UNREADABLE: "subject"}),
                plain,
                ("s", {UNREADABLE: "headers"}),
                plain,
                ("s.\\xff", {UNREADABLE: "subject"}),
            ]
            self.assertEqual(found, expected)

        return Deferred.fromCoroutine(check())

    def test_the_end_of_a_pull_request(self) -> Deferred[None]:
        """Said so often that it is passed over; what a publisher has put in a message is not."""

        async def check() -> None:
            header = b"NATS/1.0 409 Batch Completed\r\n\r\n"
            said, stored = b"HMSG s 1 32 32\r\n", b"HMSG s 1 r 32 32\r\n"
            messages = await self.feed(said + header + b"\r\n" + stored + header + b"\r\n")
            self.assertEqual([message.reply for message in messages], ["r"])

        return Deferred.fromCoroutine(check())

    def test_the_release_of_nats_py(self) -> Deferred[None]:
        return from_asyncio(check_nats_py())

    def test_another_release(self) -> Deferred[None]:
        """Whichever hook has another name, or is not called any more, is named in one line."""

        async def check() -> None:
            for name in ("_process_msg", "_process_pong", "_process_headers"):
                hook = getattr(NatsClient, name)
                delattr(NatsClient, name)
                setattr(NatsClient, f"{name}_renamed", hook)
                try:
                    await from_asyncio(check_nats_py())
                    self.fail("nothing was noticed")
                except StartupError as error:
                    self.assertRegex(
                        str(error),
                        f"^NATS: nats-py \\S+ does not have {name} as the release that scfd works with; "
                        "install that one: pip install 'nats-py ~= 2.16.0'$",
                    )
                finally:
                    setattr(NatsClient, name, hook)
                    delattr(NatsClient, f"{name}_renamed")

        return Deferred.fromCoroutine(check())

    def test_a_hook_that_is_not_called(self) -> Deferred[None]:
        async def check() -> None:
            async def parse(self: object, data: bytes) -> None:
                """Calls what it likes."""

            from nats.protocol.parser import Parser

            self.patch(Parser, "parse", parse)
            try:
                await from_asyncio(check_nats_py())
                self.fail("nothing was noticed")
            except StartupError as error:
                self.assertIn("does not have _process_msg", str(error))

        return Deferred.fromCoroutine(check())
