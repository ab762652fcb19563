"""Virtual time: one clock for asyncio and Twisted that moves when nobody has anything left to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from scfd.testing.mistakes import TestingError

_log = Logger(namespace="scfd.testing")

#: Seconds of real time that threads may take before virtual time goes on without them.
PATIENCE = 5.0
#: Seconds of real time in a row that code may take without a word in the log.
HELD_UP = 0.5


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """
    An asyncio loop without sockets. Where others wait for the next timer, it is that time already.

    Code in threads takes real time: while a thread is at work, the clock stands still.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector = self  # asyncio's own loop asks it what to do next: `select`
        self._clock_resolution = 1e-6
        self._now = self._until = 0.0
        self._idle = False
        self._woken = threading.Event()
        self._in_threads = self._given_up = 0
        self._resumed = 0.0
        #: Called with the seconds of real time for which code kept the loop from going on, if they are many.
        self.held_up: Callable[[float], object] = lambda seconds: None
        #: Functions that say how many threads are at work.
        self.busy: list[Callable[[], int]] = [lambda: self._in_threads]

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Have time pass in which nothing runs, as in a process that is frozen."""
        self._now += seconds

    def run_until(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """
        Do all that is due up to a time, and have it be that time.

        :param enough: ends it before, when it is true.
        :raises TestingError: the loop is running.
        """
        if self.is_running():
            raise TestingError("the node is running already: a plugin can't call advance() or publish()")
        self._until, self._idle = until, False
        self._resumed = perf_counter()
        with _running(self):
            while not self._idle and not enough():
                self._run_once()  # type: ignore[attr-defined]

    def finish(self) -> None:
        """Cancel what is left, and close."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_until(self._now)
        self.close()

    def select(self, timeout: float | None) -> list[Any]:
        """
        Called by asyncio when it has done what was ready.

        :param timeout: seconds until the next timer; 0 when something is ready, None when there is no timer.
        """
        took = perf_counter() - self._resumed
        if took > HELD_UP:
            self.held_up(took)
        try:
            return self._select(timeout)
        finally:
            self._resumed = perf_counter()

    def _select(self, timeout: float | None) -> list[Any]:
        if (timeout is not None and timeout <= 0) or self._wait_for_threads():
            return []
        when = self._until if timeout is None else self._now + timeout
        if when > self._until or timeout is None:
            self._idle = True
            when = max(self._now, self._until)
        self._now = when
        return []

    def _wait_for_threads(self) -> bool:
        """:returns: whether something is to be done before time may go on."""
        if self._woken.is_set():
            self._woken.clear()
            return True
        count = sum(busy() for busy in self.busy)
        if count <= self._given_up:
            self._given_up = count
            return False
        if self._woken.wait(PATIENCE):
            self._woken.clear()
            return True
        self._given_up = count
        _log.warn(
            "{count} threads still work after {limit:g} s of real time: virtual time goes on without them",
            count=count,
            limit=PATIENCE,
        )
        return False

    def _process_events(self, events: list[Any]) -> None:
        """There are no sockets whose events could be processed."""

    def _write_to_self(self) -> None:
        self._woken.set()

    def run_in_executor(  # type: ignore[override]  # types of these arguments come with Python 3.11
        self, executor: Any, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """See asyncio; the clock stands still until the function has returned."""
        self._in_threads += 1
        future = super().run_in_executor(executor, function, *arguments)
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: object) -> None:
        self._in_threads -= 1


def _no_sockets(name: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise TestingError(f"{name}: a node in memory has no sockets; expected a fake")

    return refuse


for _name in ("create_connection", "create_datagram_endpoint", "create_server", "sock_connect", "add_reader"):
    setattr(VirtualLoop, _name, _no_sockets(_name))


@contextmanager
def _running(loop: VirtualLoop) -> Iterator[None]:
    """Make it the loop that runs, also inside one that runs already, such as pytest-asyncio's or trial's."""
    outer = asyncio._get_running_loop()
    task = asyncio.current_task(outer) if outer is not None else None
    # Python 3.12 has no swap of none for none.
    swap = getattr(asyncio.tasks, "_swap_current_task", None) if task is not None else None
    if swap is not None:
        swap(outer, None)
    asyncio._set_running_loop(None)
    asyncio._set_running_loop(loop)
    loop._thread_id = threading.get_ident()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        loop._thread_id = None  # type: ignore[attr-defined]
        asyncio._set_running_loop(outer)
        if swap is not None:
            swap(outer, task)


class _Threads:
    """A thread pool of Twisted's kind whose work the loop waits for."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._executor = ThreadPoolExecutor(4, "scfd-testing")
        self._working = 0
        self._lock = threading.Lock()
        loop.busy.append(lambda: self._working)

    def callInThreadWithCallback(  # noqa: N802 - Twisted's name
        self,
        result: Callable[[bool, Any], object] | None,
        function: Callable[..., Any],
        *args: Any,
        **named: Any,
    ) -> None:
        def work() -> None:
            try:
                success, value = True, function(*args, **named)
            except BaseException:
                success, value = False, Failure()
            try:
                if result is not None:
                    result(success, value)
                elif not success:
                    _log.failure("a call in a thread failed", value)
            finally:
                with self._lock:
                    self._working -= 1

        with self._lock:
            self._working += 1
        self._executor.submit(work)

    def callInThread(self, function: Callable[..., Any], *args: Any, **named: Any) -> None:  # noqa: N802
        self.callInThreadWithCallback(None, function, *args, **named)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


@implementer(IReactorTime, IReactorFromThreads)
class VirtualReactor:
    """A reactor of Twisted whose time is that of a `VirtualLoop`."""

    running = True

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._handles: dict[DelayedCall, asyncio.TimerHandle] = {}
        self._threads = _Threads(loop)

    def seconds(self) -> float:
        return self._loop.time()

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> DelayedCall:
        if delay < 0:
            raise AssertionError(f"{delay} is in the past")
        when = self._loop.time() + delay
        call = DelayedCall(when, callable, args, kw, self._cancelled, self._moved, self.seconds)
        self._handles[call] = self._loop.call_at(when, self._run, call)
        return call

    def _cancelled(self, call: DelayedCall) -> None:
        self._handles.pop(call).cancel()

    def _moved(self, call: DelayedCall) -> None:
        self._handles.pop(call).cancel()
        self._handles[call] = self._loop.call_at(call.getTime(), self._run, call)

    def _run(self, call: DelayedCall) -> None:
        if call.delayed_time > 0:
            call.activate_delay()
            self._moved(call)
            return
        del self._handles[call]
        call.called = 1
        assert call.func is not None
        try:
            call.func(*call.args or (), **call.kw or {})
        except Exception:
            _log.failure("a delayed call failed")

    def getDelayedCalls(self) -> list[Any]:
        return list(self._handles)

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kw: object) -> None:
        with suppress(RuntimeError):  # a thread that has ended after the node
            self._loop.call_soon_threadsafe(lambda: callable(*args, **kw))

    def callInThread(self, function: Callable[..., Any], *args: object, **named: object) -> None:  # noqa: N802
        self._threads.callInThread(function, *args, **named)

    def getThreadPool(self) -> Any:  # noqa: N802 - Twisted's name
        return self._threads

    def callWhenRunning(self, callable: Callable[..., Any], *args: object, **kw: object) -> None:
        self.callLater(0, callable, *args, **kw)

    def close(self) -> None:
        """Forget what was to be called."""
        for handle in self._handles.values():
            handle.cancel()
        self._threads.close()

    def __getattr__(self, name: str) -> Any:
        raise TestingError(f"reactor.{name}: a node in memory has no sockets, processes or signals")


#: What plugins call of the process's reactor, and a `VirtualReactor` does in its place.
_REPLACED = ("seconds", "callLater", "callFromThread", "callInThread", "getThreadPool", "getDelayedCalls")


@contextmanager
def instead_of_the_real_one(reactor: VirtualReactor) -> Iterator[None]:
    """Have code that imports ``twisted.internet.reactor`` meet virtual time, too."""
    from twisted.internet import reactor as real

    attributes = vars(real)
    saved = {name: attributes[name] for name in _REPLACED if name in attributes}
    attributes.update((name, getattr(reactor, name)) for name in _REPLACED)
    try:
        yield
    finally:
        for name in _REPLACED:
            attributes.pop(name, None)
        attributes.update(saved)
