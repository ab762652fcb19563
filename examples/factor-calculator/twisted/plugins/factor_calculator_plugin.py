"""Where scfd finds the plugin; the code is in factor_calculator.py."""

from factor_calculator import plugin

__all__ = ["plugin"]
