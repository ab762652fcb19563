"""Gives up on code that does not heed being cancelled."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger(namespace="scfd.plugin")

T = TypeVar("T")


def detached(inner: Deferred[T]) -> Deferred[T]:
    """
    Have a Deferred that is over as soon as it is cancelled, whatever the code behind it makes of that.

    A coroutine whose ``except Exception`` swallows the `CancelledError` goes on, and its Deferred does not
    fire; a canceller may raise. No time limit would ever end these.

    :returns: a Deferred of the same result. What comes after it was cancelled is dropped.
    """

    def cancel(_: Deferred[T]) -> None:
        try:
            inner.cancel()
        except Exception:
            _log.failure("what was to be cancelled can't be")

    outer: Deferred[T] = Deferred(cancel)

    def pass_on(result: Any) -> None:
        if outer.called:
            return
        if isinstance(result, Failure):
            outer.errback(result)
        else:
            outer.callback(result)

    inner.addBoth(pass_on)
    return outer
