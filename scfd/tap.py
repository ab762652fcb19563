"""``twistd scfd``: the command line. The node itself is `scfd.node.make_node`: read that first."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

from scfd import config, reactor
from scfd.errors import EXIT_COULD_NOT_START, StartupError


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
    config: config.Config

    def postOptions(self) -> None:
        try:
            reactor.install()
            self.config = config.load(self["config"], os.environ, self["trpc-config"])
        except StartupError as error:
            _give_up(error)
        if self.parent is not None:
            self._adjust(self.parent)

    @staticmethod
    def _adjust(twistd: Any) -> None:
        """Other defaults for twistd's own options: nothing is written unasked, and the log is for people."""
        if twistd["nodaemon"] and twistd["pidfile"] == "twistd.pid":
            twistd["pidfile"] = ""
        if not (twistd["logger"] or twistd["logfile"] or twistd.get("syslog")):
            twistd["logger"] = "scfd.logs.console"


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
