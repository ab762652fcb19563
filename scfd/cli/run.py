"""``scfd run``: a node in the foreground."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

from scfd.cli.remote import CONFIGS
from scfd.errors import StartupError


def config_file(named: str | None) -> str:
    """:raises StartupError: when none is named and there is none."""
    if named is not None:
        return named
    for path in CONFIGS:
        if os.path.exists(path):
            return path
    raise StartupError(
        f"scfd: no config here: expected {' or '.join(CONFIGS)} in {os.getcwd()}, or its path: "
        "scfd run CONFIG; scfd new NAME makes a project that has one"
    )


def run(config: str, *options: str) -> int:
    """
    Run a node until it is asked to stop. Most of its ends are `SystemExit` with the node's own status.

    :param options: of ``twistd scfd``.
    """
    # A tenth of a second that the other commands save.
    from twisted.application import app
    from twisted.application.service import ServiceMaker
    from twisted.scripts import twistd

    node = ServiceMaker("scfd", "scfd.tap", "Run a node.", "scfd")

    class Options(twistd.ServerOptions):  # type: ignore[name-defined,misc]
        """twistd looks for its commands in all plugins: it would import the user's, with tracebacks."""

        loadedPlugins: ClassVar[dict[str, Any]] = {"scfd": node}  # noqa: N815 - Twisted's name
        subCommands: ClassVar[list[Any]] = [("scfd", None, lambda: node.options(), "")]

    sys.argv[1:] = ["--nodaemon", "scfd", "--config", config, *options]
    app.run(twistd.runApp, Options)
    return 0
