"""The reactor that the node runs on: asyncio's, since NATS speaks asyncio."""

from __future__ import annotations

import sys
import time
from types import FrameType

from scfd.errors import StartupError


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
        installReactor(SteadyReactor())
    elif not isinstance(installed, AsyncioSelectorReactor):
        raise StartupError(
            f"the reactor is {type(installed).__name__} already, and scfd needs AsyncioSelectorReactor: "
            "leave out --reactor; a module in twisted/plugins that imports the reactor "
            "belongs in scfd/plugins"
        )
