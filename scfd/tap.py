"""``twistd scfd``: the command line. The node itself is `scfd.node.make_node`: read that first."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.python import usage

from scfd import signals
from scfd.errors import EXIT_COULD_NOT_START, StartupError

if TYPE_CHECKING:
    from scfd.config import Config


def _give_up(error: StartupError) -> NoReturn:
    print("\n".join(f"scfd: {line}" for line in str(error).splitlines()), file=sys.stderr, flush=True)
    sys.exit(EXIT_COULD_NOT_START)


class Options(usage.Options):
    """The command line. A config with mistakes ends the process here, before anything has started."""

    synopsis = "[--config FILE]"
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "etc/config.yaml", "The config file."],
        ["trpc-config", None, None, "A Go deployment's trpc_go.yaml: gateway address, heartbeat period."],
    ]
    config: Config

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        if self.parent is not None:  # under twistd
            signals.end_at_once()
        super().parseOptions(options)

    def postOptions(self) -> None:
        # Imported here: they take a tenth of a second, in which signals are handled already.
        from scfd import config, reactor

        try:
            reactor.install()
            self.config = config.load(self["config"], os.environ, self["trpc-config"])
        except StartupError as error:
            _give_up(error)
        if self.parent is not None:
            self._adjust(self.parent)

    @staticmethod
    def _adjust(twistd: Any) -> None:
        """Set other defaults for twistd's own options: no files in the foreground, and a log for people."""
        if twistd["nodaemon"] and twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = ""
        if twistd["logger"] or twistd.get("syslog"):
            return
        if twistd["nodaemon"] and twistd["logfile"] in (None, "-"):
            twistd["logger"] = "scfd.logs.console"
        elif twistd["logfile"] != "-":
            from scfd import logs

            logs.log_file.path = twistd["logfile"] or "twistd.log"
            twistd["logger"] = "scfd.logs.log_file.observer"


def makeService(options: Options) -> Any:
    """
    Build the node.

    :returns: the root of its tree of services, an `IService`.
    """
    # Imported here: both need the reactor that `Options` has put in place.
    from twisted.internet import reactor

    from scfd.node import make_node

    try:
        return make_node(options.config, reactor)
    except StartupError as error:
        _give_up(error)
