"""What a control plane's response to a task report says about the result."""

from __future__ import annotations

from enum import Enum
from typing import Any

from scfd.control_plane import generations
from scfd.control_plane.generations import ReturnInfo, return_info, wrapped_status
from scfd.control_plane.learning import Exchange

#: HTTP statuses, or ``code`` in the body, of generations 1 and 2 for which another try ends the same way.
REFUSALS = (400, 404, 409, 422)
#: Statuses that tell of the server or of the node's rights, and nothing of the result.
NOT_ABOUT_THE_RESULT = (401, 403, 429, 502, 503, 504)

#: What Go's HTTP server, and so a control plane, says of a path that it does not have.
_NO_SUCH_PATH = b"404 page not found"


class Verdict(Enum):
    """
    :cvar TAKEN: the control plane has the result.
    :cvar REFUSED: it will never take it.
    :cvar RETRY: it did not take it this time. Such responses are counted: a result is put aside after some.
    :cvar UNAVAILABLE: the control plane could not be asked; says nothing about the result.
    """

    TAKEN = "delivered"
    REFUSED = "refused"
    RETRY = "retry"
    UNAVAILABLE = "unavailable"


def judge(exchange: Exchange) -> Verdict:
    """Read the response to a report. One in another generation's form has not been refused by its server."""
    verdict = _judge(exchange)
    misread = exchange.asked != exchange.generation
    return Verdict.RETRY if misread and verdict is Verdict.REFUSED else verdict


def _judge(exchange: Exchange) -> Verdict:
    response, value = exchange.response, exchange.value
    info = return_info(value, response)
    if info is not None and response.status == 200:
        return _judge_info(info)
    status = wrapped_status(response) or response.status
    if status in NOT_ABOUT_THE_RESULT:
        return Verdict.UNAVAILABLE
    wrong_path = response.status == 404 and (
        exchange.generation == 2 or not exchange.proven or response.body.strip() == _NO_SUCH_PATH
    )
    if exchange.generation == 3 or wrong_path:
        # Generation 3 responds with status 200 and ret_info, so this is from something in front of it.
        return Verdict.RETRY
    if status != 200:
        return _judge_code(status)
    # An empty body, one that is not JSON, or one without a code counts as its HTTP status.
    code = value.get("code") if isinstance(value, dict) else None
    return Verdict.TAKEN if code in (None, 200) else _judge_code(code)


def _judge_code(code: Any) -> Verdict:
    return Verdict.REFUSED if code in REFUSALS else Verdict.RETRY


def _judge_info(info: ReturnInfo) -> Verdict:
    if info.code == generations.OK:
        return Verdict.TAKEN
    if info.unknown_field:
        return Verdict.RETRY
    if info.framework:
        return Verdict.REFUSED if info.final else Verdict.UNAVAILABLE
    if info.code in (generations.NO_AUTH, generations.NO_PERMISSION):
        return Verdict.UNAVAILABLE
    if info.code in (generations.NOT_FOUND, generations.INVALID):
        return Verdict.REFUSED
    # 4 is an unknown task as well as a fault of the server's database.
    return Verdict.RETRY
