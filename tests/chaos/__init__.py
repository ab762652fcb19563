"""
Faults at random against a real node, plugin, nats-server and control plane; see `tests.chaos.__main__`.

Needs root for the disk that fills up (a small tmpfs); without it that fault is left out, and said.
"""
