"""W3C Trace Context: which trace an event belongs to (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import getrandbits
from typing import Any

#: Version 00: trace id, id of the parent span, flags. Ids of zeros only are not valid.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
#: "Sampled": else plugins that go by what their callers say would record nothing.
_SAMPLED = "01"


def traceparent(metadata: Mapping[str, str], trace: str = "") -> str:
    """
    The trace context of a new event.

    :param metadata: of the event: a message that has a ``traceparent`` among its headers is continued,
        in its trace and with its flags. Anything else begins a trace.
    :param trace: the id of the trace that is begun, 32 hex digits; a random one by default.
    """
    random = f"{getrandbits(192):048x}"
    given = metadata.get("header.traceparent") or metadata.get("header.Traceparent")
    found = _TRACEPARENT.fullmatch(given) if given else None
    if found is not None:
        return f"00-{found[1]}-{random[32:]}-{found[2]}"
    return f"00-{trace or random[:32]}-{random[32:]}-{_SAMPLED}"


def ids(traceparent: str) -> dict[str, Any]:
    """The fields by which a log line names the event whose trace context it is."""
    return {"event": traceparent[36:52], "trace": trace_id(traceparent)}


def trace_id(traceparent: str) -> str:
    """The trace's own part, by which logs are searched."""
    return traceparent[3:35]
