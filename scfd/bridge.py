"""The only place where Deferreds and asyncio meet. Needs asyncioreactor to be the reactor."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def from_asyncio(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """
    Run an asyncio coroutine; ``ensureDeferred`` can't, since it gives it no running loop.

    :returns: a Deferred of the coroutine's value. Cancelling it cancels the asyncio task and fails
        it with `asyncio.CancelledError`.
    """
    return Deferred.fromFuture(asyncio.ensure_future(coroutine))


def to_asyncio(deferred: Deferred[T]) -> asyncio.Future[T]:
    """
    Make a Deferred awaitable inside an asyncio task, where ``await deferred`` fails.

    :returns: a future of the Deferred's value; cancelling it cancels the Deferred.
    """
    return deferred.asFuture(asyncio.get_running_loop())
