"""``scfd new``: each kind of project passes its test, and runs, as it is but for its ports."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.integration.daemon import Daemon
from tests.integration.projects import ProjectTestCase, run_program


class NewTests(ProjectTestCase):
    async def make(self, *options: str) -> None:
        self.folder.mkdir()
        await self.python("-m", "scfd", "new", "try-this", *options, folder=self.folder)
        self.folder /= "try-this"
        said = await self.python("-m", "unittest", folder=self.folder)
        self.assertRegex(said, r"(?m)^Ran \d tests in .*\n\nOK")
        self.use_free_ports()

    async def reported(self, daemon: Daemon, condition: Callable[[list[str]], bool]) -> None:
        await self.has_results(
            lambda results: condition([result["result"] for result in results if result["status"] == 2])
        )
        await self.ends_well(daemon)

    async def test_native(self) -> None:
        await self.make()
        daemon = await self.start("--reload")
        await self.reported(daemon, lambda results: {"Hello, Ada", "Hello, Grace"} <= set(results))

    async def test_http(self) -> None:
        await self.make("--http")
        daemon = await self.start("--reload")
        await self.reported(daemon, lambda results: {"Hello, Ada", "Hello, Grace"} <= set(results))

    async def test_message(self) -> None:
        await self.make("--message")
        for arguments in ((), ("3",), ("three", "9.5")):
            _, said, status = await run_program(self.folder, sys.executable, "send.py", *arguments)
            self.assertEqual(
                (status, said), (1, "usage: python send.py PIECES PRICE, such as: python send.py 3 9.5\n")
            )
        _, said, status = await run_program(self.folder, sys.executable, "send.py", "3", "9.5")
        self.assertEqual(status, 1)
        self.assertEqual(said, "nats: no servers available for connection; does `scfd run` run?\n")
        daemon = await self.start("--reload")
        await daemon.says("consuming orders.> of stream ORDERS")
        said = await self.python("send.py", "3", "9.5", folder=self.folder)
        self.assertIn("message 1 of stream ORDERS", said)
        await daemon.says("orders.new: 28.50 EUR")

        # Started again, and the stream is still the same.
        code = self.folder / "try_this.py"
        code.write_text(code.read_text().replace(":.2f}", ":.3f}"))
        await daemon.says("try_this.py: changed(.|\n)*consuming orders.> of stream ORDERS")
        said = await self.python("send.py", "1", "2", folder=self.folder)
        self.assertIn("message 2 of stream ORDERS", said)
        await self.reported(daemon, lambda results: sorted(results) == ["2.000 EUR", "28.50 EUR"])
