"""JSON and times as the wire wants them."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from typing import Any


def to_json(value: object) -> bytes:
    """
    Encode compactly, in ASCII: other characters are escaped, half surrogate pairs (which a peer may
    send, and which UTF-8 can't carry) among them.

    :raises ValueError: for NaN and infinities, which JSON does not have.
    :raises TypeError: for a value that JSON does not have.
    """
    return _ENCODER.encode(value).encode("ascii")


#: Made once, as `DECODER` is.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def from_json(data: bytes) -> Any:
    """
    Decode UTF-8 JSON and nothing looser: no NaN, no UTF-16, no byte order mark; nor a number such as
    1e999, which a float can't hold and `to_json` could not encode again.

    :raises ValueError: when it is not that, or nested too deeply to be read.
    """
    try:
        return DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


#: Made once: json.loads makes one at each call that says how to read numbers, which takes longer than to
#: read a short message.
DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def from_rfc3339(text: str) -> datetime:
    """:raises ValueError: it is no time. Python 3.10 does not know the Z."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(moment: datetime | float, milliseconds: bool = False) -> str:
    """
    :param moment: aware, or seconds since the epoch.
    :param milliseconds: whether whole seconds have them, too.
    :returns: RFC 3339, in UTC, with ``Z``; whole seconds as they are, others with milliseconds.
    """
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, timezone.utc)
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond or milliseconds else "seconds") + "Z"
