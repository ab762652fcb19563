"""The log in Tencent CLS, beside where it goes anyway."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

from attrs import asdict
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from scf_log import AsyncProducer, CLSConfig
from scfd.config.values import ClsSettings
from scfd.errors import StartupError
from scfd.logs.fields import record
from scfd.logs.levels import Levels

_NAMESPACE = "scfd.log"
_log = Logger(namespace=_NAMESPACE)

#: Seconds that the end of the process waits for what has not been sent.
FLUSH_LIMIT = 5.0
#: Seconds from one line about lost entries to the next.
SAID_EACH = 60.0
#: What `scf_log` calls fields of plugins' entries, so that one search finds both.
_NAMES = {"time": "Time", "level": "Level", "message": "Msg", "namespace": "Name", "node": "nodeID"}


@implementer(ILogObserver)
class ToCls:
    """
    Hands events to a producer, which has threads of its own.

    :param levels: says which events.
    :ivar lost: entries that CLS has not got, and will not get.
    """

    def __init__(self, config: CLSConfig, levels: Levels) -> None:
        self._levels = levels
        self._producer = AsyncProducer(config, self._complain)
        self._producer.flush_limit = FLUSH_LIMIT
        self._reason = ""
        self._unusable = self._said = 0
        self._said_at = -SAID_EACH

    def __call__(self, event: LogEvent) -> None:
        """Never blocks, never raises."""
        # What is said of lost entries would be lost as well, and said again.
        if event.get("log_namespace") == _NAMESPACE:
            return
        try:
            if self._levels.shows(event):
                self._producer.send(entry(record(event)), int(event["log_time"] * 1_000_000))
        except Exception as error:
            self._unusable += 1
            self._reason = repr(error)

    def _complain(self, reason: str) -> None:
        """Called by threads of the producer."""
        self._reason = reason

    @property
    def lost(self) -> int:
        return self._producer.dropped + self._producer.failed + self._unusable

    def look(self, at_once: bool = False) -> None:
        """Say what has been lost; to be called each second. It is said each minute, unless ``at_once``."""
        lost, now = self.lost, time.monotonic()
        if lost > self._said and (at_once or now - self._said_at >= SAID_EACH):
            _log.error(
                "log.cls: {count} lines of the log did not get to CLS: {reason}",
                count=lost - self._said,
                reason=self._reason,
            )
            self._said, self._said_at = lost, now

    def close(self) -> None:
        """Send what waits, for `FLUSH_LIMIT` seconds at the most; take nothing more. Say what is left."""
        self._producer.close()
        self.look(at_once=True)


def make_to_cls(settings: ClsSettings, levels: Levels) -> ToCls:
    """:raises StartupError: packages or credentials are missing, or a value is of no use."""
    missing = [name for name in ("lz4", "google.protobuf") if not _is_installed(name)]
    if missing:
        raise StartupError(f"log.cls: {' and '.join(missing)} not found; expected pip install 'scfd[cls]'")
    config = CLSConfig(**asdict(settings))
    try:
        config.validate()
    except ValueError as error:
        raise StartupError(str(error).replace("scf_log: CLS settings", "log.cls")) from None
    return ToCls(config, levels)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def entry(found: dict[str, Any]) -> dict[str, str]:
    """A record as CLS has it: names and texts only."""
    error = found.pop("error", {})
    flat = {_NAMES.get(name, name): value for name, value in found.items() if name != "fields"}
    flat |= {"Error": error.get("text"), "ErrorType": error.get("type"), "StackTrace": error.get("traceback")}
    flat |= {name: value for name, value in found.get("fields", {}).items() if name not in flat}
    return {name: str(value) for name, value in flat.items() if value not in ("", None)}
