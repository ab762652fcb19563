"""scfd: an event-driven daemon that runs business code as a cloud function node."""

__version__ = "0.1.0"
