"""
All that is said to the control plane, the Moox server, and what it says back.

What differs between servers is in `generations` alone; the wire is described in docs/protocol.rst.
"""
