"""From a config file to a node, for both command lines; and a node in the foreground."""

from __future__ import annotations

import gc
import os
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import TYPE_CHECKING, NoReturn

from scfd import signals
from scfd.errors import EXIT_COULD_NOT_START, StartupError

if TYPE_CHECKING:
    from scfd.config import AdapterSettings, Config, SystemSettings
    from scfd.lifecycle import Node

#: Seconds.
SWITCH_INTERVAL = 0.001


def run(path: str, trpc_config: str | None = None, reload: bool = False, no_dev: bool = False) -> int:
    """
    Run a node until it is asked to stop. Some of its ends are `SystemExit` with the node's own status.

    Without twistd, whose own imports are a tenth of the start.

    :param path: of the config.
    :param trpc_config: path of a Go deployment's trpc_go.yaml.
    :param reload: start the plugin again when its files change.
    :param no_dev: leave out what the ``dev:`` section asks for.
    :returns: the exit status.
    """
    begin()
    try:
        cfg = configure(path, trpc_config, reload)
        if cfg.log.file and not reload:
            check_log_file(cfg.log.file, "log.file")
        node = make(cfg, trpc_config, reload, no_dev)
    except StartupError as error:
        give_up(error)
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from scfd import logs

    globalLogBeginner.beginLoggingTo([logs.console()])
    node.startService()
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    reactor.run()
    return 0


def begin() -> None:
    """What comes before everything else, in a process that will be a node's."""
    signals.end_at_once()
    _import_when_used("http.cookiejar")
    # Each time that the reactor has let go of the interpreter, to read or write, it waits for so long until a
    # thread that computes lets it have it again: by default 5 ms, several times in a turn.
    sys.setswitchinterval(SWITCH_INTERVAL)
    # A fifth of the start would be walks through what stays; on again in `make`.
    gc.disable()


def _import_when_used(name: str) -> None:
    """
    Put off the import of a module until something asks it for an attribute.

    twisted.python.compat imports http.cookiejar, and with it urllib, http.client and email, to pass it on to
    code that nobody here has: 17 ms.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is not None and spec.loader is not None:
        spec.loader = LazyLoader(spec.loader)
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def give_up(error: StartupError) -> NoReturn:
    """Say why the node can't start, and end the process."""
    print("\n".join(f"scfd: {line}" for line in str(error).splitlines()), file=sys.stderr, flush=True)
    sys.exit(EXIT_COULD_NOT_START)


def configure(path: str, trpc_config: str | None, reload: bool) -> Config:
    """
    Load the config, and put in place what it asks of the process: reactor and log.

    :raises StartupError: with all mistakes of the config.
    """
    # Imported here: they take a tenth of a second, in which signals are handled already.
    from attrs import evolve

    from scfd import config, logs, reactor

    loaded = config.load(path, os.environ, trpc_config, None if reload else _settings_class)
    if loaded.adapter.http is not None:
        reactor.leave_out_tls()
    reactor.install()
    logs.set_up(evolve(loaded.log, file="") if reload else loaded.log)
    return loaded


def _settings_class(adapter: AdapterSettings, system: SystemSettings) -> type | None:
    """That of a native plugin, whose modules may need the reactor, and TLS."""
    if adapter.http is not None:
        return None
    from scfd import reactor
    from scfd.adapter.registry import settings_class

    reactor.install()
    return settings_class(adapter, system)


def make(cfg: Config, trpc_config: str | None, reload: bool, no_dev: bool) -> Node:
    """
    Build the node.

    :raises StartupError: when something that it needs is missing.
    """
    # Imported here: both need the reactor that `configure` has put in place.
    from twisted.internet import reactor

    from scfd.node import make_node, without_dev

    try:
        if reload:
            from scfd.reload import make_reloading

            return make_reloading(cfg, trpc_config, reactor)
        return make_node(without_dev(cfg) if no_dev else cfg, reactor)
    finally:
        gc.freeze()
        gc.enable()


def check_log_file(path: str, setting: str) -> None:
    """:raises StartupError: when it can't be written."""
    try:
        open(path, "ab").close()
    except OSError as error:
        raise StartupError(
            f"the log file {path} can't be written: {error.strerror}; expected another one in {setting}"
        ) from None
