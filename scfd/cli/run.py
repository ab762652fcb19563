"""``scfd run``: a node in the foreground."""

from __future__ import annotations

import os
import sys

from scfd import reactor
from scfd.errors import StartupError

#: Where a config is looked for when none is named.
DEFAULT_CONFIGS = ("etc/config.yaml", "config.yaml")


def config_file(named: str | None) -> str:
    """
    :raises StartupError: when none is named and there is none.
    """
    if named is not None:
        return named
    for path in DEFAULT_CONFIGS:
        if os.path.exists(path):
            return path
    raise StartupError(
        f"scfd: no config here: expected {' or '.join(DEFAULT_CONFIGS)} in {os.getcwd()}, or its path: "
        "scfd run CONFIG; scfd new NAME makes a project that has one"
    )


def twistd_arguments(config: str, trpc_config: str | None) -> list[str]:
    """What twistd is called with, for the node of a config."""
    trpc = [] if trpc_config is None else ["--trpc-config", trpc_config]
    return ["--nodaemon", "scfd", "--config", config, *trpc]


def run(config: str, trpc_config: str | None) -> int:
    """Run a node until it is asked to stop. Most of its ends are `SystemExit` with the node's own status."""
    from twisted.scripts import twistd  # a tenth of a second that the other commands save

    # Before twistd looks for its commands, and imports the plugins of this folder for that.
    reactor.install()
    sys.argv[1:] = twistd_arguments(config, trpc_config)
    twistd.run()
    return 0
