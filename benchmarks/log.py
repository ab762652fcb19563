"""
What a log line costs: ``python -m benchmarks.log``.

Prints processor time a line, the least of several rounds: of each format, of a line that its level leaves
out, and of Twisted's own ``textFileLogObserver``. All write to the null device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, Logger, textFileLogObserver

from scfd.logs.formats import FORMATS
from scfd.logs.levels import Levels
from scfd.logs.observers import ConsoleObserver
from scfd.logs.repeats import Repeats

LINES, ROUNDS = 5_000, 9


def cost(observer: ILogObserver, emit: str = "info") -> float:
    """Microseconds a line."""
    log: Callable[..., object] = getattr(Logger(namespace="scfd.tasks", observer=observer), emit)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for number in range(LINES):
            log("{trigger}: {count} tasks received", trigger="tick", count=number)
        best = min(best, time.process_time() - began)
    return best / LINES * 1e6


def main() -> None:
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        observers: dict[str, Any] = {"twisted": textFileLogObserver(nowhere)}
        for name, format in FORMATS.items():
            observers[name] = Repeats(ConsoleObserver(nowhere, format, Levels()))
        for name, observer in observers.items():
            print(f"{name:<8} {cost(observer):5.1f} us a line")
        print(f"{'left out':<8} {cost(observers['text'], 'debug'):5.1f} us a line")


if __name__ == "__main__":
    main()
