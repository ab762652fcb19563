"""What a caller's connection and whoever answers its request know of each other."""

from __future__ import annotations

from typing import Protocol

from scfd.gateway.request import Request
from scfd.web import Response


class Responder(Protocol):
    """
    Answers one request. It ends with `ICaller.finish`, `respond`, `fail` or `break_off`, or when it is
    abandoned; after that nothing is called any more.
    """

    def start(self) -> None:
        """Begin; the head of the request is known."""

    def on_body(self, data: bytes) -> None:
        """A part of the request's body; or of what goes through the tunnel."""

    def on_body_end(self) -> None:
        """The body is complete. Not called for requests that have none."""

    def flush(self) -> None:
        """All that has arrived so far has been told: pass it on."""

    def on_caller_writable(self, writable: bool) -> None:
        """Back-pressure: whether the caller keeps up with its answer."""

    def abandon(self) -> None:
        """The caller is gone, or has been answered otherwise."""


class ICaller(Protocol):
    """Who has sent a request, as its responder sees it."""

    @property
    def may_stay(self) -> bool:
        """Whether the connection may serve another request after this answer."""

    def begin(self, status: int) -> None:
        """Say that an answer begins; with 101, that the connection is a tunnel from here on."""

    def write(self, data: bytes) -> None:
        """Send something."""

    def finish(self, stay: bool) -> None:
        """Say that the answer is complete, and whether the connection stays open."""

    def respond(self, response: Response) -> None:
        """Give a whole answer."""

    def fail(self, status: int, message: str) -> None:
        """Give an error as the answer; in the middle of one, break off."""

    def break_off(self) -> None:
        """Close the connection at once: half an answer must not look like a whole one."""

    def pause_body(self, paused: bool) -> None:
        """Back-pressure: hold the request's body back, or let it come."""


class Backend(Protocol):
    """Answers what the gateway does not answer itself."""

    def responder(self, caller: ICaller, request: Request, identity: bytes) -> Responder:
        """
        :param identity: header lines that say who the caller is.
        """

    def close(self) -> None:
        """Keep nothing open any more."""
