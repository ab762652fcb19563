"""A small control plane ("Moox Server") beside the node, for development and for the demo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from scfd.config import Address
from scfd.control_plane.signing import Signer
from scfd.deferreds import in_thread
from scfd.dev.prober import Prober
from scfd.dev.state import ControlPlaneState
from scfd.dev.task_file import TaskFile
from scfd.dev.web import resource_tree
from scfd.errors import ConfigError
from scfd.listen import Bind, bind, listen
from scfd.site import Guarded, QuietSite

if TYPE_CHECKING:
    from scfd.config import DevControlPlaneSettings

#: Seconds between two looks at the task file.
WATCH_PERIOD = 1.0

_log = Logger(namespace="scfd.dev.control_plane")


class ControlPlane(MultiService):
    """
    Speaks the control plane's side of the protocol with the nodes that report in.

    :param settings: the address to listen on, and the file with the tasks (empty: there are none).
    :param node_url: the gateway of the node to probe; None to probe nobody.
    :param reactor: gives the port, threads and time.
    :param agent: makes the probes.
    :param probe_token: what the node wants probes to show; empty when it wants nothing.
    :param node_page: where the node's page is, to be linked to; empty for none.
    :param keys: the node's; generations 2 and 3 take only calls that are signed with them.
    """

    def __init__(
        self,
        settings: DevControlPlaneSettings,
        node_url: str | None,
        reactor: Any,
        agent: IAgent,
        probe_token: str = "",
        bind: Bind = bind,
        keys: Signer | None = None,
        node_page: str = "",
    ) -> None:
        super().__init__()
        self._bind = bind
        self._listen, self._hosts = settings.listen, settings.hosts
        self._node_url = node_url
        self._reactor = reactor
        self._agent = agent
        self._probe_token, self._protocol = probe_token, settings.protocol
        self._state = ControlPlaneState(time.time, node_page)
        self._resource = resource_tree(self._state, reactor, settings.protocol, keys)
        self._task_file = TaskFile(settings.tasks) if settings.tasks else None
        self._watch = LoopingCall(self._look_at_file)
        self._watch.clock = reactor
        self._port: Any = None

    def startService(self) -> Deferred[None]:
        """
        :returns: a Deferred that fires when the control plane is reachable. Fails with `StartupError`
            when the task file is missing or has mistakes, or the address is in use.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        if self._task_file is not None:
            self._state.tasks = await in_thread(self._reactor, self._task_file.read)
            self._warn()
        self._port = listen(
            "dev.control_plane.listen",
            self._listen,
            QuietSite(Guarded(self._resource, self._hosts)),
            self._reactor,
            self._bind,
        )
        reached = Address(self._listen.host, self._port.getHost().port).reached
        _log.info("control plane for development: {url}/ shows nodes, tasks and results", url=reached.url)
        if self._task_file is not None:
            self._watch.start(WATCH_PERIOD, now=False)
        if self._node_url is not None:
            prober = Prober(
                self._node_url,
                reached,
                self._agent,
                self._reactor,
                time.time,
                self._probe_token,
                self._protocol,
            )
            prober.setServiceParent(self)

    def _look_at_file(self) -> Deferred[None]:
        # Never fails: a LoopingCall whose function failed does not call it again.
        return Deferred.fromCoroutine(self._take_changes())

    async def _take_changes(self) -> None:
        assert self._task_file is not None
        try:
            tasks = await in_thread(self._reactor, self._task_file.read_if_changed)
        except ConfigError as error:
            mistakes = "; ".join(str(mistake) for mistake in error.mistakes)
            _log.warn("the last good task list stays in use: {mistakes}", mistakes=mistakes)
        except Exception:
            _log.failure("can't look at the task file; trying again")
        else:
            if tasks is not None:
                self._state.tasks = tasks
                noun = "task" if len(tasks) == 1 else "tasks"
                _log.info("the task file has changed: {count} {noun}", count=len(tasks), noun=noun)
                self._warn()

    def _warn(self) -> None:
        assert self._task_file is not None
        for warning in self._task_file.warnings:
            _log.warn("{warning}", warning=warning)

    def stopService(self) -> Deferred[None]:
        """:returns: a Deferred that fires when the port is closed and no response is waiting any more."""
        stopped = super().stopService()
        if self._watch.running:
            self._watch.stop()
        return Deferred.fromCoroutine(self._stop(stopped))

    async def _stop(self, services: Deferred[Any]) -> None:
        await services
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        self._resource.close()
