"""
``scfd run --reload``: the node is a process below this one, and is started again when its files change.

What the ``dev:`` section asks for runs here: control plane and NATS server stay up, with their tasks, results
and streams. A new process is the only way to have a native plugin's modules loaded again for certain. Of an
HTTP plugin that the node runs, the node is asked to restart the plugin's process alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd import build
from scfd.adapter.child import Child
from scfd.adapter.guard import guarded
from scfd.adapter.process import exit_text
from scfd.config import Config, load
from scfd.control_plane.http import LazyClient
from scfd.deferreds import from_coroutine
from scfd.errors import ConfigError, StartupError
from scfd.lifecycle import Node, ProcessEnd, freeze_heap
from scfd.node import with_state_dir
from scfd.reactor import exceptions
from scfd.reports.state_dir import make_state_dir
from scfd.status.context import Context

_log = Logger(namespace="scfd.reload")

#: Files that a plugin's code is in.
CODE = tuple(".py .pyx .js .mjs .cjs .ts .go .rs .java .jar .rb .php .lua .sh".split(" "))  # noqa: SIM905
#: Folders that change without anybody editing code; those whose name begins with a dot are others.
NOT_CODE = frozenset({"__pycache__", "_trial_temp", "node_modules", "site-packages", "build", "dist"})
#: Changed files that a line names.
_NAMED = 5
#: Seconds to a response of the node.
RPC_TIMEOUT = 5.0


def make_reloading(cfg: Config, trpc_config: str | None, reactor: Any) -> Node:
    """
    What surrounds the node, with this process for itself.

    :raises StartupError: something that it needs is missing.
    """
    cfg = with_state_dir(cfg)
    make_state_dir(cfg.system.state_dir)
    context, process = Context(reactor), ProcessEnd(reactor)
    build.report_refused_connections(exceptions, context)
    surroundings = _Surroundings(context, build.identity(cfg, os.environ), 0.0, process.end)
    process.handle_signals(surroundings.hurry)
    reactor.addSystemEventTrigger("during", "shutdown", process.insist)
    surroundings.add(
        {
            "dev nats": build.dev_nats(cfg, reactor),
            "dev control plane": build.dev_control_plane(cfg, reactor),
            "reload": Reloader(cfg, trpc_config, build.http_client(reactor), reactor),
        }
    )
    return surroundings


class _Surroundings(Node):
    def settled(self) -> None:
        """The node below says itself when it is ready."""
        freeze_heap()


class _NodeProcess(Child):
    """A node, which writes to the terminal itself."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.ended: Deferred[str] = Deferred()

    def processEnded(self, reason: Failure) -> None:
        super().processEnded(reason)
        self.ended.callback(exit_text(reason))


class Reloader(Service):
    """
    Runs the node, watches its files, and starts it again when they change.

    :param client: asks the node to restart its plugin.
    :raises StartupError: there is nothing that watches files, or too much to watch.
    """

    def __init__(self, cfg: Config, trpc_config: str | None, client: LazyClient, reactor: Any) -> None:
        try:
            import watchfiles
        except ImportError:
            raise StartupError("--reload needs the package watchfiles: pip install watchfiles") from None
        self._watchfiles = watchfiles
        self._cfg, self._trpc_config = cfg, trpc_config
        self._client, self._reactor = client, reactor
        self._files = Files(cfg)
        self._node: _NodeProcess | None = None
        self._pending: set[str] = set()
        self._stopping = asyncio.Event()
        self._watching: Deferred[None] | None = None

    def startService(self) -> None:
        super().startService()
        _log.info("watching {folders}", folders=", ".join(self._files.folders))
        self._start_node()
        self._watching = from_coroutine(self._watch())
        self._watching.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._stopping.set()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._end_node()
        if self._watching is not None:
            await self._watching

    async def _watch(self) -> None:
        changes = self._watchfiles.awatch(
            *self._files.folders,
            watch_filter=lambda kind, path: self._files.matter(path),
            step=100,  # milliseconds without a further change, after which those until then are one
            stop_event=self._stopping,
        )
        async for some in changes:
            await self._changed({path for _, path in some})

    def _failed(self, failure: Failure) -> None:
        _log.failure("files are not watched any more", failure)

    async def _changed(self, paths: set[str]) -> None:
        self._pending |= paths
        broken = [mistake for path in sorted(self._pending) for mistake in self._mistakes(path)]
        for mistake in broken:
            _log.error("{mistake}; waiting for it to be mended", mistake=mistake)
        if broken:
            return
        changed, self._pending = self._pending, set()
        names = ", ".join(sorted(os.path.relpath(path) for path in changed)[:_NAMED])
        if len(changed) > _NAMED:
            names += f" and {len(changed) - _NAMED} more"
        if self._files.config not in changed and await self._plugin_restarts():
            _log.info("{names}: changed; the plugin is started again", names=names)
            return
        _log.info("{names}: changed; the node is started again", names=names)
        await self._end_node()
        if self.running:
            self._start_node()

    def _mistakes(self, path: str) -> Iterator[str]:
        """What would keep the node from starting with this file, as far as it is seen without running it."""
        if path == self._files.config:
            try:
                self._take(load(self._cfg.path, os.environ, self._trpc_config))
            except ConfigError as error:
                yield from map(str, error.mistakes)
        elif path.endswith(".py"):
            mistake = syntax_mistake(path)
            if mistake:
                yield mistake

    def _take(self, cfg: Config) -> None:
        cfg = with_state_dir(cfg)
        if cfg.dev != self._cfg.dev:
            _log.warn("dev: has changed; that takes effect when scfd run is started again")
        self._cfg = cfg

    async def _plugin_restarts(self) -> bool:
        """Ask the node to restart its plugin's process; False when it has none, or can't be asked."""
        cfg = self._cfg
        if cfg.adapter.http is None or not cfg.adapter.http.command or cfg.admin is None:
            return False
        body = {"jsonrpc": "2.0", "id": 1, "method": "plugin.restart", "params": {}}
        headers: Any = {"Authorization": f"Bearer {cfg.admin.token}"} if cfg.admin.token else {}
        url = f"{cfg.admin.listen.url}/rpc"
        try:
            response = await self._client.post(url, json=body, headers=headers, timeout=RPC_TIMEOUT)
            return "result" in await response.json()
        except Exception:
            return False

    def _start_node(self) -> None:
        trpc = [] if self._trpc_config is None else ["--trpc-config", self._trpc_config]
        command = guarded([sys.executable, "-m", "scfd", "run", self._cfg.path, "--no-dev", *trpc])
        node = self._node = _NodeProcess(self._reactor)
        # Python takes a compiled file for that of a source saved in the same second, at the same size.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        # Its input is the pipe whose end tells the guard that this process is gone.
        fds = {0: "w", 1: 1, 2: 2}
        self._reactor.spawnProcess(node, command[0], command, env=env, childFDs=fds)
        node.ended.addCallback(self._ended, node)

    async def _end_node(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            await node.end()

    def _ended(self, how: str, node: _NodeProcess) -> None:
        if node is self._node:  # else it was asked to
            self._node = None
            _log.error("the node has ended: {how}; it is started again when a file changes", how=how)


class Files:
    """
    The files that a node is made of.

    :ivar folders: where they are, all they have below included.
    :ivar config: the config.
    :raises StartupError: that would be everything there is.
    """

    def __init__(self, cfg: Config) -> None:
        http = cfg.adapter.http
        cwd = Path((http.cwd if http is not None else "") or ".")
        self.config = os.path.realpath(cfg.path)
        words = http.command if http is not None else ()
        #: What the command of an HTTP plugin names, whatever its kind, and the config.
        self._named = {
            self.config,
            *(os.path.realpath(cwd / word) for word in words if (cwd / word).is_file()),
        }
        folders = {os.path.realpath(folder) for folder in (".", str(cwd), *cfg.adapter.path)}
        if "/" in folders:
            raise StartupError("--reload watches the working directory; expected a project's folder, found /")
        #: A config elsewhere is watched alone: its folder may have anything in it.
        apart = {path for path in self._named if not any(_is_below(path, folder) for folder in folders)}
        self.folders = sorted(folders | apart)

    def matter(self, path: str) -> bool:
        """Whether a change of this file is one of the node's code or config."""
        if path in self._named:
            return True
        if not path.endswith(CODE):
            return False
        folder = max((folder for folder in self.folders if _is_below(path, folder)), key=len, default="")
        inside = Path(path).relative_to(folder or "/")
        return not inside.name.startswith(".") and not any(
            _is_not_code(Path(folder, *inside.parts[: depth + 1])) for depth in range(len(inside.parts) - 1)
        )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder + os.sep)


def _is_not_code(folder: Path) -> bool:
    return folder.name in NOT_CODE or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()


def syntax_mistake(path: str) -> str:
    """The syntax error of a Python file as one line with file and line; empty when there is none."""
    try:
        source = Path(path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, path, "exec", dont_inherit=True)
    except OSError:
        return ""  # removed, or only just being written
    except SyntaxError as error:
        where = f"{os.path.relpath(path)}:{error.lineno}" if error.lineno else os.path.relpath(path)
        return f"{where}: {type(error).__name__}: {error.msg}"
    except ValueError as error:  # a null byte, before Python 3.12
        return f"{os.path.relpath(path)}: {error}"
    return ""
