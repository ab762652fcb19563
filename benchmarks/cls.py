"""
What a log entry costs its caller while CLS is dead: ``python -m benchmarks.cls [SECONDS]``.

100,000 entries a second are offered. Prints the caller's time an entry, the memory, and what was dropped.
"""

from __future__ import annotations

import logging
import resource
import sys
import time

from scf_log import setup_cls_logging

RATE = 100_000


def main(seconds: float) -> None:
    handler = setup_cls_logging(
        config_dict={"topic_id": "t", "host": "http://127.0.0.1:1", "secret_id": "i", "secret_key": "k"}
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB to MiB
    log = logging.getLogger("bench").info
    began, spent, used, count = time.monotonic(), 0.0, 0.0, 0
    while time.monotonic() - began < seconds:
        start, started = time.perf_counter(), time.thread_time()
        for number in range(1000):
            log("entry %d of the benchmark", number)
        spent += time.perf_counter() - start
        used += time.thread_time() - started
        count += 1000
        time.sleep(max(0.0, began + count / RATE - time.monotonic()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    producer = handler.producer
    print(f"{count / (time.monotonic() - began):,.0f} entries/s offered, {spent / count * 1e6:.1f} us each")
    print(f"{used / count * 1e6:.1f} us of these are the caller's processor time")
    print(f"memory {before:.0f} MiB, at the peak {peak:.0f} MiB; bound of the buffer 100 MiB of text")
    print(f"dropped {producer.dropped}, waiting {count - producer.dropped - producer.sent - producer.failed}")
    producer.close(0)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5)
