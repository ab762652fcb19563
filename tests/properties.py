"""Hypothesis without its limits of time: what else the machine does fails no test."""

from hypothesis import HealthCheck, given, settings

settings.register_profile("scfd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("scfd")

__all__ = ["given"]
