"""
What GET /metrics costs with thousands of triggers, all of which have fired: ``python -m benchmarks.scrape``.

Milliseconds for the whole page, and the longest time for which nothing else could run.
"""

from __future__ import annotations

import sys
import time

from scfd.status.metrics import Metrics


def main(triggers: int = 10_000) -> None:
    metrics = Metrics()
    for number in range(triggers):
        name = f"trigger-number-{number}"
        metrics.events.labels(name, "succeeded").inc()
        metrics.event_seconds.labels(name).observe(0.01)
        metrics.timer_lateness.labels(name).observe(0.002)
    wholes, longest = [], []
    for _ in range(10):
        began = last = time.perf_counter()
        steps, size = [], 0
        for part in metrics.exposition():
            now = time.perf_counter()
            steps.append(now - last)
            last, size = now, size + len(part)
        wholes.append(last - began)
        longest.append(max(steps))
    print(
        f"{triggers} triggers, {size / 1e6:.1f} MB: {sorted(wholes)[5] * 1e3:.1f} ms,"
        f" nothing else ran for {max(longest) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
