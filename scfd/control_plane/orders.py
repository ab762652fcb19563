"""What the response to a heartbeat asks of the node."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from scfd.control_plane.client import ServerResponse
from scfd.control_plane.generations import OK, return_info, wrapped_status
from scfd.control_plane.learning import Exchange
from scfd.events.tasks import EMPTY_MD5

#: ``tasks_md5`` of a control plane that has not made its task list yet.
INITIALIZING = "initializing"


@frozen
class Orders:
    """
    What an accepted heartbeat asks for.

    :ivar tasks: the whole new task list; None to keep the one there is.
    :ivar package_version: the version that should be running; empty when the response names none.
    """

    tasks: list[Any] | None = None
    package_version: str = ""


def read_response(exchange: Exchange) -> Orders:
    """
    Read the response to a heartbeat.

    :raises RefusedError: when the control plane did not accept it; the text says why.
    :raises RetryError: when the next try may be accepted.
    """
    response, value = exchange.response, exchange.value
    if response.status == 401:
        raise RetryError(f"HTTP status 401: {_shown(response)}; expected heartbeat.auth with its keys")
    if response.status != 200:
        raise RetryError(f"HTTP status {wrapped_status(response) or response.status}{exchange.advice}")
    info = return_info(value, response)
    if info is None:
        if exchange.generation == 3:
            raise RefusedError("the response is not an object with ret_info")
        return _read_data(value)
    if info.code == OK:
        return _orders(value)
    error = RetryError if info.framework and not info.final else RefusedError
    raise error(f"code {info.code}: {info.text}{exchange.advice}")


def _shown(response: ServerResponse) -> str:
    return response.body[:200].decode("utf-8", "replace").strip()


def _read_data(value: Any) -> Orders:
    """The response of generations 1 and 2: what it orders is the first element of ``data``."""
    if not isinstance(value, dict) or not isinstance(value.get("code"), (int, float)):
        raise RefusedError("the response is not an object with a code")
    if value["code"] != 200:
        raise RefusedError(f"code {value['code']}: {value.get('message')}")
    data = value.get("data")
    if not isinstance(data, (list, type(None))):
        raise RefusedError("the response's data is not a list")
    return _orders(data[0]) if data and isinstance(data[0], dict) else Orders()


def _orders(entry: dict[str, Any]) -> Orders:
    tasks, digest, version = entry.get("task_instances"), entry.get("tasks_md5"), entry.get("package_version")
    if not isinstance(tasks, (list, type(None))):
        raise RefusedError("the response's task_instances is not a list")
    # An empty list clears the store only together with the digest "empty".
    stays = not tasks and (tasks is None or digest != EMPTY_MD5)
    return Orders(
        None if stays or digest == INITIALIZING else tasks, version if isinstance(version, str) else ""
    )


class RefusedError(Exception):
    """The control plane responded, and did not accept the heartbeat; another try would end the same way."""


class RetryError(Exception):
    """There was no usable response; another try may get one."""
