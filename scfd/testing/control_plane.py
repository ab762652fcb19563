"""The development control plane in memory, as the node's HTTP client meets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from scfd.control_plane.signing import Signer
from scfd.dev.routes import GENERATIONS, refusal
from scfd.dev.state import ControlPlaneState, Faults
from scfd.dev.task_file import parse_tasks
from scfd.errors import ConfigError
from scfd.testing.mistakes import TestingError
from scfd.web import Response

URL = "http://control-plane.test"


@frozen
class _Response:
    """What of `twisted.web.iweb.IResponse` is asked of a response."""

    code: int
    headers: Headers
    body: bytes

    def deliverBody(self, protocol: Any) -> None:  # noqa: N802 - Twisted's name
        protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))


class ControlPlane:
    """
    What knows the tasks and takes the results; it can be away, slow, or refuse.

    It takes the place of a treq client, and responds as the development control plane does by HTTP.

    :param clock: an `IReactorTime`, for late responses.
    """

    def __init__(self, state: ControlPlaneState, protocol: str, keys: Signer | None, clock: Any) -> None:
        self._state = state
        self._routes = GENERATIONS[protocol](state, keys)
        self._clock = clock

    def post(self, url: str, data: bytes, headers: Headers, **_: object) -> Deferred[Any]:
        """See `treq.client.HTTPClient`."""
        faults = self._state.faults
        if faults.slow and not faults.down:
            return deferLater(self._clock, faults.slow, self._post, url, data, headers)
        return self._post(url, data, headers)

    def _post(self, url: str, data: bytes, headers: Headers) -> Deferred[Any]:
        faults, path = self._state.faults, urlsplit(url).path
        if faults.down:
            return fail(ConnectionRefusedError("the control plane is down: a fault of the test"))
        if faults.status:
            response = refusal(faults.status, "a fault that is switched on")
        else:
            handler = self._routes.handler(b"POST", path.encode())
            missing = self._routes.elsewhere(path) or refusal(404, "there is nothing at this path")
            outcome = handler(headers, data) if handler is not None else missing
            assert isinstance(outcome, Response), "no route of a control plane has to wait"
            response = outcome
        given = Headers({name: [value] for name, value in response.headers.items()})
        return succeed(_Response(response.status, given, response.body))

    def set_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """
        Replace the task list.

        :raises TestingError: something in it is not a task.
        """
        if isinstance(tasks, (str, Mapping)) or not all(isinstance(task, Mapping) for task in tasks):
            raise TestingError(
                f"set_tasks({tasks!r}): expected a list of tasks, such as [{{'task_id': 'btc'}}]"
            )
        try:
            self._state.tasks = parse_tasks(yaml.safe_dump(list(map(dict, tasks))), "set_tasks()")
        except ConfigError as error:
            raise TestingError("; ".join(map(str, error.mistakes))) from None

    def switch(self, **faults: Any) -> None:
        """
        Switch faults on or off: those of the development control plane, `scfd.dev.state.Faults`.

        :raises TestingError: there is no such fault, or it does not take the value.
        """
        try:
            self._state.switch_faults(faults)
        except ValueError as mistake:
            raise TestingError(f"control_plane: {mistake}") from None

    def down(self) -> None:
        """Refuse connections."""
        self.switch(down=True)

    def up(self) -> None:
        """Switch all faults off."""
        self._state.faults = Faults()

    def slow(self, seconds: float) -> None:
        """Respond later."""
        self.switch(slow=seconds)

    def respond_with(self, status: int) -> None:
        """Respond to everything with an HTTP status from 400 to 599."""
        self.switch(status=status)

    def refuse(self, *task_ids: str) -> None:
        """Refuse the results of some tasks for good."""
        self.switch(refuse=list(task_ids))

    def want_version(self, version: str) -> None:
        """Name a version that should be running; a node of another one ends with status 3."""
        self.switch(package_version=version)
