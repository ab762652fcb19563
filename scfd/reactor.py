"""The reactor that the node runs on: asyncio's, since NATS speaks asyncio."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.logger import Logger

from scfd.errors import StartupError

_log = Logger(namespace="scfd.node")

#: Seconds in which connections that can't be accepted get one line.
ACCEPT_EACH = 10.0


class ExceptionHandler:
    """
    What asyncio's loop calls with an error that is nobody's.

    While no file descriptor is left, asyncio reports each connection that it can't accept, 100 and more in
    each second. Here they are one line in `ACCEPT_EACH` seconds.

    :param now: seconds, by a clock that is never set.
    :ivar refused: called with the reason for each connection that can't be accepted.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._said_at = -ACCEPT_EACH
        self.refused: Callable[[str], object] = lambda reason: None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") != "socket.accept() out of system resource":
            loop.default_exception_handler(context)
            return
        reason = getattr(context.get("exception"), "strerror", None) or "no resources"
        self.refused(reason)
        if self._now() - self._said_at >= ACCEPT_EACH:
            self._said_at = self._now()
            _log.error("new connections can't be accepted: {reason}; trying again each second", reason=reason)


#: That of this process.
exceptions = ExceptionHandler(time.monotonic)


def leave_out_tls() -> None:
    """
    Keep pyOpenSSL out until `allow_tls`: Twisted imports it with the reactor, wherever it is installed, which
    takes 130 ms and 12 MiB. For processes in which no code but scfd's own uses Twisted.
    """
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]


def allow_tls() -> None:
    """From here on pyOpenSSL can be imported, if it is installed."""
    if sys.modules.get("OpenSSL", sys) is None:
        del sys.modules["OpenSSL"]


def install() -> None:
    """
    Make asyncioreactor the reactor of this process, unless it is already.

    :raises StartupError: when something has chosen another one.
    """
    # Imported here because every module that asks for the reactor installs one.
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor
    from twisted.internet.main import installReactor

    class SteadyReactor(AsyncioSelectorReactor):
        """Twisted measures time by the wall clock: set back an hour, it stops every timer for an hour."""

        seconds = staticmethod(time.monotonic)

        def sigTerm(self, number: int, frame: FrameType | None = None) -> None:  # noqa: N802 - Twisted's name
            """Stop. Twisted would have the process die of the signal; its status is the node's to choose."""
            self.callFromThread(self.stop)

        sigInt = sigTerm  # noqa: N815 - Twisted's name

    installed = sys.modules.get("twisted.internet.reactor")
    if installed is None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(exceptions)
        installReactor(SteadyReactor(loop))
    elif not isinstance(installed, AsyncioSelectorReactor):
        raise StartupError(
            f"the reactor is {type(installed).__name__} already, and scfd needs AsyncioSelectorReactor: "
            "leave out --reactor; a module in twisted/plugins that imports the reactor "
            "belongs in scfd/plugins"
        )
