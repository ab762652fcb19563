"""Tells systemd, or whatever else speaks its protocol, when the node is ready, stops, and is alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from scfd.status.readiness import Phase

_log = Logger(namespace="scfd.node")
#: Seconds between two tries to say what the socket did not take.
RETRY = 1.0


class ServiceManager:
    """
    The datagrams of sd_notify(3): ``READY=1``, ``STOPPING=1``, and ``WATCHDOG=1`` at half of its period.

    The reactor's clock sends those of the watchdog, so there are none while something blocks the reactor.

    :param environ: ``NOTIFY_SOCKET`` (without it nothing is said), ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    """

    def __init__(self, environ: Mapping[str, str], reactor: Any) -> None:
        self._reactor = reactor
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._period = _microseconds(environ) / 2e6  # seconds
        self._beats = False
        self._failed = False

    def entered(self, phase: Phase) -> None:
        """Say that a phase of the node's life has begun."""
        if not self._address:
            return
        if phase is Phase.RUNNING:
            self._say_surely(b"READY=1\nSTATUS=ready")
        elif phase is Phase.STOPPING:
            self._say_surely(b"STOPPING=1\nSTATUS=stopping")
        if self._period and not self._beats:
            self._beats = True
            self._beat()

    def _beat(self) -> None:
        self._reactor.callLater(self._period, self._beat)
        self._say(b"WATCHDOG=1")

    def _say_surely(self, message: bytes) -> None:
        if not self._say(message):
            self._reactor.callLater(RETRY, self._say_surely, message)

    def _say(self, message: bytes) -> bool:
        """:returns: whether it was taken. Where it can't be said the node goes on; the log has it once."""
        address = self._address
        if address.startswith("@"):  # Linux's abstract namespace
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(message, address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                _log.warn(
                    "NOTIFY_SOCKET {address} can't be written: {reason}; the service manager does not hear "
                    "of the node",
                    address=self._address,
                    reason=error.strerror or str(error),
                )
            return False
        self._failed = False
        return True


def _microseconds(environ: Mapping[str, str]) -> int:
    """The watchdog's period; 0 when there is none, or it is meant for another process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) if text.isdecimal() else 0
