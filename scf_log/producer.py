"""Takes entries from any thread, and uploads them in batches from threads of its own."""

from __future__ import annotations

import atexit
import math
import os
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from scf_log.config import CLSConfig

if TYPE_CHECKING:
    from scf_log.upload import Uploader

#: Bytes that an entry and each of its fields take in memory besides their texts, seen with CPython 3.11.
_ENTRY, _FIELD = 400, 50
#: Seconds from one try to the next while somebody waits for the last entries.
_HURRIED = 1.0
#: Seconds from one complaint about lost entries to the next.
_COMPLAIN_EVERY = 60.0

#: Held while a worker imports. A fork waits for it: its child would wait for the end of that import for ever.
_importing = threading.Lock()
_producers: weakref.WeakSet[AsyncProducer] = weakref.WeakSet()
_Entry = tuple[int, Mapping[str, str], int]  # microseconds, fields, bytes


class AsyncProducer:
    """
    Entries wait for ``max_batch_count`` or ``max_batch_size`` to be reached, for ``linger_ms`` at the most.

    Nothing is started before the first entry. After a fork the child has an empty buffer and threads of its
    own: what the parent's buffer holds is the parent's to send.

    :param complain: called with the reason each time entries are lost, by any thread, and with a lock held:
        it must not log. By default standard error is told, once a minute and at the end.

    :ivar sent: entries that CLS has taken.
    :ivar dropped: entries for which there was no room.
    :ivar failed: entries that CLS refused, that all tries failed for, or that were left at the end.
    :ivar flush_limit: seconds that `flush` and the end of the process wait for what has not been sent.
    """

    flush_limit = 30.0

    def __init__(self, config: CLSConfig, complain: Callable[[str], object] | None = None) -> None:
        self._config = config
        self._told = complain
        self.sent = self.dropped = self.failed = 0
        self._closed = False
        self._reset()
        _producers.add(self)
        _at_exit_once()

    def _reset(self) -> None:
        """As if nothing had been sent; also in the child of a fork, whose threads are the parent's."""
        self._changed = threading.Condition(threading.Lock())
        self._entries: deque[_Entry] = deque()
        self._first_at = 0.0  # when the oldest entry came, by the monotonic clock
        self._waiting_bytes = 0  # of entries that no worker has taken
        self._bytes = 0  # of all entries, those under way included
        self._workers = self._idle = self._busy = 0
        #: Set while somebody waits for the last entries.
        self._hurry = threading.Event()
        self._complained = 0.0
        self._reason = "no upload has ended"

    def send(self, fields: Mapping[str, str], timestamp_us: int | None = None) -> bool:
        """
        Take an entry.

        :param timestamp_us: microseconds since the epoch; now by default.
        :returns: False when there was no room for it, or the producer is closed.
        """
        size = _ENTRY + sum(_FIELD + len(key) + len(value) for key, value in fields.items())
        moment = time.time_ns() // 1000 if timestamp_us is None else timestamp_us
        with self._changed:
            if not self._has_room(size) or self._closed:
                self.dropped += 1
                self._complain("the buffer is full")
                return False
            if not self._entries:
                self._first_at = time.monotonic()
            self._entries.append((moment, fields, size))
            self._waiting_bytes += size
            self._bytes += size
            first = len(self._entries) == 1
            full = self._is_full()
            if first or full or not self._workers:
                # Else a worker is waiting for the linger time of the first one already.
                self._wake(full)
        return True

    def _has_room(self, size: int) -> bool:
        limit = self._config.total_size_ln_bytes
        if self._bytes + size <= limit or self._config.max_block_sec == 0:
            return self._bytes + size <= limit
        patience = self._config.max_block_sec if self._config.max_block_sec > 0 else None
        return self._changed.wait_for(lambda: self._closed or self._bytes + size <= limit, patience)

    def _is_full(self) -> bool:
        return (
            len(self._entries) >= self._config.max_batch_count
            or self._waiting_bytes >= self._config.max_batch_size
        )

    def _wake(self, full: bool) -> None:
        if self._idle:
            self._changed.notify()
        elif self._workers < self._config.max_send_worker_count and (full or self._workers == 0):
            self._workers += 1
            try:
                threading.Thread(target=self._work, name="scf_log", daemon=True).start()
            except RuntimeError:  # the interpreter ends, or there are too many: see `flush`
                self._workers -= 1

    def _work(self) -> None:
        """A worker's life: it ends with the process."""
        uploader = _uploader(self._config)
        changed = self._changed
        while True:
            with changed:
                batch = self._next_batch(wait=True)
            self._deliver(batch, uploader)

    def _next_batch(self, wait: bool) -> list[_Entry]:
        """With the lock held. :returns: one as soon as it is due; without ``wait`` what there is now."""
        while wait:
            if self._entries and (self._is_full() or self._hurry.is_set()):
                break
            due = self._first_at + self._config.linger_ms / 1000 if self._entries else None
            rest = None if due is None else due - time.monotonic()
            if rest is not None and rest <= 0:
                break
            self._idle += 1
            self._changed.wait(rest)
            self._idle -= 1
        batch: list[_Entry] = []
        size = 0
        while self._entries and len(batch) < self._config.max_batch_count:
            if batch and size + self._entries[0][2] > self._config.max_batch_size:
                break
            batch.append(self._entries.popleft())
            size += batch[-1][2]
        self._waiting_bytes -= size
        self._first_at = time.monotonic()
        self._busy += len(batch)
        if self._entries:
            self._wake(self._is_full())
        return batch

    def _deliver(self, batch: list[_Entry], uploader: Uploader, end: float = math.inf) -> None:
        if not batch:
            return
        reason = self._try(batch, uploader, end)
        with self._changed:
            if self._closed:
                return  # they were counted as left
            self._busy -= len(batch)
            self._bytes -= sum(size for _, _, size in batch)
            if reason:
                self.failed += len(batch)
                self._complain(reason)
            else:
                self.sent += len(batch)
            self._changed.notify_all()

    def _try(self, batch: list[_Entry], uploader: Uploader, end: float) -> str:
        """:returns: why it failed for good; empty when CLS has taken it."""
        from scf_log.upload import RefusedError, RetryError

        entries = [(moment, fields) for moment, fields, _ in batch]
        pause = self._config.base_retry_backoff_ms / 1000
        for attempt in range(self._config.retries + 1):
            try:
                uploader.upload(entries)
                return ""
            except RetryError as error:
                self._reason = reason = str(error)
            except RefusedError as error:
                return str(error)
            except Exception as error:  # a worker must not end
                return f"{type(error).__name__}: {error}"
            if attempt < self._config.retries:
                # Spread out, or all workers would come back at the same moment.
                self._pause(min(pause, self._config.max_retry_backoff_ms / 1000) * random.uniform(0.5, 1))
                pause *= 2
            if time.monotonic() >= end:
                break
        return reason

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        if self._hurry.wait(seconds):
            time.sleep(max(0.0, min(until - time.monotonic(), _HURRIED)))

    def _complain(self, reason: str) -> None:
        """On standard error, once a minute: a log line about it would be an entry itself."""
        if self._told is not None:
            self._told(reason)
            return
        now = time.monotonic()
        if not self._complained or now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            print(
                f"scf_log: log entries are lost: {self.dropped} dropped, {self.failed} failed: {reason}",
                file=sys.stderr,
            )

    def flush(self, limit: float | None = None) -> bool:
        """
        Send what waits now.

        :param limit: seconds to wait for it; `flush_limit` by default.
        :returns: whether nothing waits any more.
        """
        if self._closed:
            return True
        end = time.monotonic() + (self.flush_limit if limit is None else limit)
        with self._changed:
            self._hurry.set()
            self._changed.notify_all()
        try:
            if self._entries and not self._workers:
                self._help(end)
            with self._changed:
                return self._changed.wait_for(
                    lambda: not self._entries and not self._busy, max(0.0, end - time.monotonic())
                )
        finally:
            self._hurry.clear()

    def _help(self, end: float) -> None:
        """In the caller's thread: at the end of a process no thread can be started any more."""
        uploader = _uploader(self._config)
        uploader.timeout = max(0.1, end - time.monotonic())
        while time.monotonic() < end:
            with self._changed:
                batch = self._next_batch(wait=False)
            if not batch:
                break
            self._deliver(batch, uploader, end)
        uploader.close()

    def close(self, limit: float | None = None) -> None:
        """Send what waits, and take nothing more. What can't be sent in time is counted and said."""
        if self._closed:
            return
        self.flush(limit)
        with self._changed:
            self._closed = True
            left = len(self._entries) + self._busy
            self._entries.clear()
            self.failed += left
            if left:
                self._complained = 0.0
                self._complain(f"{left} could not be sent before the end: {self._reason}")
            self._changed.notify_all()


def _uploader(config: CLSConfig) -> Uploader:
    with _importing:
        from scf_log.upload import Uploader  # 60 ms for http, protobuf and lz4, off the caller's way

    return Uploader(config)


def _close_all() -> None:
    """All of them at once: several that wait for a dead endpoint wait for the same seconds."""
    began = time.monotonic()
    for producer in list(_producers):
        producer._hurry.set()
    for producer in list(_producers):
        producer.close(max(0.0, began + producer.flush_limit - time.monotonic()))


def _at_end_of_multiprocessing(_: object = None) -> None:
    """Its children end without `atexit`."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, _close_all, exitpriority=0)


def _after_fork() -> None:
    _importing.release()
    for producer in list(_producers):
        producer._reset()
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # it forgets what was to be called at the end, and then calls this
        util.register_after_fork(_producers, _at_end_of_multiprocessing)


_registered = False


def _at_exit_once() -> None:
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_close_all)
        _at_end_of_multiprocessing()
        os.register_at_fork(
            before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_after_fork
        )
