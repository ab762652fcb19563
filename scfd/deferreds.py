"""Deferreds: the bridge to asyncio, cancelling, counting, time limits. Needs asyncioreactor."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from scfd.errors import describe

T = TypeVar("T")

_log = Logger(namespace="scfd.plugin")

#: Whether the code that runs is a coroutine of `from_coroutine`, or a task that such a coroutine has made.
_awaits_both: ContextVar[bool] = ContextVar("scfd_awaits_both", default=False)


def from_coroutine(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """
    Run a coroutine that may await Deferreds and whatever asyncio awaits, also in tasks that it makes.

    Without a running asyncio loop, as in a test with a `Clock`, it can await Deferreds only.

    :returns: a Deferred of the coroutine's value, and of the value's own where that is a Deferred or a
        coroutine. Cancelling it fails it at once, raises `asyncio.CancelledError` inside the coroutine, and
        cancels what that awaits.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Deferred.fromCoroutine(coroutine)
    if loop.get_task_factory() is None:
        loop.set_task_factory(_make_task)
    context = copy_context()
    context.run(_awaits_both.set, True)
    task = context.run(loop.create_task, _last_value(coroutine))

    def cancel(_: Deferred[T]) -> None:
        task.cancel()

    outer: Deferred[T] = Deferred(cancel)

    def ended(task: asyncio.Task[T]) -> None:
        if not outer.called:
            maybeDeferred(task.result).chainDeferred(outer)
        elif not task.cancelled() and (error := task.exception()) is not None:
            _log.failure("a coroutine failed after it was cancelled", Failure(error))

    task.add_done_callback(ended)
    return outer


async def _last_value(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """For ``return something()`` where ``return await something()`` was meant."""
    value = await coroutine
    while isinstance(value, (Deferred, Coroutine)):
        value = await value
    return value


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task as asyncio does; one of `from_coroutine`, or made inside one, can await Deferreds."""
    if _awaits_both.get():
        coroutine = _run(coroutine)
    return asyncio.Task(coroutine, loop=loop, **options)


async def _run(coroutine: Any) -> Any:
    try:
        return await _drive(coroutine)
    except (SystemExit, KeyboardInterrupt) as error:
        # A task that raises these ends the loop, and so the node.
        raise RuntimeError(f"the coroutine raised {describe(error)}") from error


@types.coroutine
def _drive(coroutine: Any) -> Generator[Any, Any, Any]:
    """Pass on what a coroutine awaits; for a Deferred, a future that is done when the Deferred has fired."""
    resume: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            awaited = resume(value)
        except StopIteration as ended:
            return ended.value
        try:
            if isinstance(awaited, Deferred):
                yield from _fired(awaited)
                value = None  # the coroutine takes the result from the Deferred
            else:
                value = yield awaited
            resume = coroutine.send
        except BaseException as error:
            resume, value = coroutine.throw, error


def _fired(deferred: Deferred[Any]) -> Generator[Any, Any, None]:
    """Wait for a Deferred, and leave its result to others. Cancelling the wait cancels the Deferred."""
    future = asyncio.get_running_loop().create_future()

    def fired(result: Any) -> Any:
        if not future.done():
            future.set_result(None)
        return result

    deferred.addBoth(fired)
    try:
        yield from future
    except asyncio.CancelledError:
        deferred.addErrback(lambda failure: None)  # nobody is left who would ask for it
        deferred.cancel()
        raise


def from_asyncio(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """
    Run an asyncio coroutine; ``ensureDeferred`` can't, since it gives it no running loop.

    :returns: a Deferred of the coroutine's value. Cancelling it cancels the asyncio task; it fails with
        `CancelledError`, as others do.
    """
    return Deferred.fromFuture(asyncio.ensure_future(coroutine)).addErrback(_as_others_do)


def _as_others_do(failure: Failure) -> Failure:
    # Not an Exception, it would pass by whoever expects Twisted's.
    return Failure(CancelledError()) if failure.check(asyncio.CancelledError) else failure


def to_asyncio(deferred: Deferred[T]) -> asyncio.Future[T]:
    """
    Make a Deferred awaitable inside an asyncio task, where ``await deferred`` fails.

    :returns: a future of the Deferred's value; cancelling it cancels the Deferred.
    """
    return deferred.asFuture(asyncio.get_running_loop())


def in_thread(reactor: Any, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
    """Call a function in one of the reactor's threads."""
    return deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)


def detached(inner: Deferred[T]) -> Deferred[T]:
    """
    Make a Deferred that ends as soon as it is cancelled, whatever the code behind it does.

    A coroutine whose ``except Exception`` catches the `CancelledError` goes on, and its Deferred does not
    fire; a canceller may raise. A time limit alone would not end these.

    :returns: a Deferred of the same result. What comes after it was cancelled is dropped.
    """

    def cancel(_: Deferred[T]) -> None:
        try:
            inner.cancel()
        except Exception:
            _log.failure("a canceller has raised")

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


class InFlight:
    """A number of Deferreds that have not fired. ``len()`` says how many."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return self._count

    def add(self, deferred: Deferred[T]) -> Deferred[T]:
        """Count a Deferred until it fires. Its result stays the same."""
        self._count += 1
        return deferred.addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        return result

    def drained(self) -> Deferred[None]:
        """:returns: a Deferred that fires as soon as nothing is under way."""
        if not self._count:
            return succeed(None)
        self._waiting.append(Deferred())
        return self._waiting[-1]


class TimeLimits:
    """Time limits for thousands of requests a second: 1 us each, where a delayed call costs 9 us."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: When each is to be called, by the clock's seconds.
        self._due: dict[Callable[[], object], float] = {}
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0

    def start(self, seconds: float, over: Callable[[], object]) -> None:
        """
        Have ``over`` called once that long has passed, unless `stop` comes first.

        :param over: a function that is not waiting to be called already.
        """
        due = self._clock.seconds() + seconds
        self._due[over] = due
        if self._timer is None or due < self._timer_due:
            self._set_timer(due)

    def stop(self, over: Callable[[], object]) -> None:
        """Cancel a call. It may have been made already."""
        self._due.pop(over, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        for over in [over for over, due in self._due.items() if due <= now]:
            if self._due.pop(over, None) is not None:
                over()
        # The earliest one may have been stopped long ago: the timer is not moved for each.
        if self._due and self._timer is None:
            self._set_timer(min(self._due.values()))
