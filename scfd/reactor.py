"""The reactor that the node runs on: asyncio's, since NATS speaks asyncio."""

from __future__ import annotations

import sys
import time

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
        """Twisted waits by the wall clock: one that is set back by an hour would stop every timer for it."""

        seconds = staticmethod(time.monotonic)

    installed = sys.modules.get("twisted.internet.reactor")
    if installed is None:
        installReactor(SteadyReactor())
    elif not isinstance(installed, AsyncioSelectorReactor):
        raise StartupError(
            f"the reactor is {type(installed).__name__} already, and scfd needs AsyncioSelectorReactor: "
            "leave out --reactor; a module in twisted/plugins that imports the reactor "
            "belongs in scfd/plugins"
        )
