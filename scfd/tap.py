"""``twistd scfd``: the command line. The node itself is `scfd.node.make_node`: read that first."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.python import usage

from scfd import start
from scfd.errors import StartupError

if TYPE_CHECKING:
    from scfd.config import Config

#: twistd's own default, in the working directory.
_PID_FILE = "twistd.pid"


class Options(usage.Options):
    """The command line. A config with mistakes ends the process here, before anything has started."""

    synopsis = "[--config FILE]"
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "etc/config.yaml", "The config file."],
        ["trpc-config", None, None, "A Go deployment's trpc_go.yaml: gateway address, heartbeat period."],
    ]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["reload", None, "Start the plugin again when its files change."],
        ["no-dev", None, "Leave out what the dev: section asks for: it runs elsewhere."],
    ]
    config: Config
    #: To be called once the node is up.
    started: Callable[[], None] | None = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        if self.parent is not None:  # under twistd
            start.begin()
        super().parseOptions(options)

    def postOptions(self) -> None:
        try:
            self.config = start.configure(self["config"], self["trpc-config"], bool(self["reload"]))
        except StartupError as error:
            start.give_up(error)
        if self.parent is None:
            return
        try:
            if "nodaemon" not in self.parent:
                self._adjust_twist(self.parent)
            elif self.parent["nodaemon"] or self.parent["debug"]:
                self._adjust_foreground(self.parent)
            else:
                self._go_into_background(self.parent)
        except StartupError as error:
            start.give_up(error)

    @staticmethod
    def _adjust_twist(twist: Any) -> None:
        """``python -m twisted scfd`` is in the foreground: a log for people, unless it goes to a file."""
        from scfd import logs

        if twist["logFile"] is sys.stdout:
            twist["fileLogObserverFactory"] = lambda stream: logs.console()

    @staticmethod
    def _adjust_foreground(twistd: Any) -> None:
        """Set other defaults for twistd's own options: no pid file, and our own log."""
        from scfd import logs

        if twistd["pidfile"] == _PID_FILE:
            twistd["pidfile"] = ""
        if twistd["logger"] or twistd["syslog"]:
            return
        if twistd["logfile"] in (None, "-"):
            twistd["logger"] = "scfd.logs.console"
            if logs.log_file.path:
                start.check_log_file(logs.log_file.path, "log.file")
        else:
            _log_to_file(twistd, twistd["logfile"])

    def _go_into_background(self, twistd: Any) -> None:
        """Go on in another process. twistd itself would do so too late to see whether the services start."""
        from scfd import daemon

        if self["reload"]:
            raise StartupError("--reload is for the foreground; expected twistd -n, or scfd run --reload")
        if twistd["umask"] is None:
            twistd["umask"] = daemon.UMASK
        os.umask(twistd["umask"])
        told = []
        if not (twistd["logger"] or twistd["syslog"]):
            path = os.path.abspath(twistd["logfile"] or self.config.log.file or self._default_log_file())
            _log_to_file(twistd, path)
            told.append(f"; log file {path}")
        if twistd["pidfile"]:
            path = os.path.abspath(twistd["pidfile"])
            _check_pid_file(path)
            told.append(f"; pid file {path}")
        twistd["nodaemon"] = True
        self.started = daemon.detach(
            lambda: f"scfd: runs in the background as process {os.getpid()}{''.join(told)}"
        )

    def _default_log_file(self) -> str:
        """In the state folder: the working directory may be any, such as ``/``."""
        from scfd.config import default_state_dir
        from scfd.reports.state_dir import make_state_dir

        state_dir = self.config.system.state_dir or default_state_dir(os.environ)
        make_state_dir(state_dir)
        return os.path.join(state_dir, "scfd.log")


def _log_to_file(twistd: Any, path: str) -> None:
    """:raises StartupError: when it can't be written; twistd itself would show a traceback."""
    from scfd import logs

    start.check_log_file(path, "--logfile")
    logs.log_file.path = path
    twistd["logger"] = "scfd.logs.file_observer"


def _check_pid_file(path: str) -> None:
    """:raises StartupError: when it can't be written, or the process that it names is alive."""
    try:
        with open(path) as file:
            running = int(file.read())
        os.kill(running, 0)
    except (ValueError, OSError):  # there is none, or it is left from a process that is gone
        if not os.access(path if os.path.exists(path) else os.path.dirname(path), os.W_OK):
            raise StartupError(
                f"the pid file {path} can't be written; expected another one in --pidfile"
            ) from None
    else:
        raise StartupError(
            f"the pid file {path} names process {running}, which runs; "
            "stop that one, or name another file with --pidfile"
        )


def makeService(options: Options) -> Any:
    """
    Build the node.

    :returns: the root of its tree of services, an `IService`.
    """
    try:
        node = start.make(
            options.config, options["trpc-config"], bool(options["reload"]), bool(options["no-dev"])
        )
    except StartupError as error:
        start.give_up(error)
    if options.started is not None:
        node.on_ready(options.started)
    return node
