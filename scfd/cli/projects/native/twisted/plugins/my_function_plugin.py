"""Where twistd and scfd find the plugin; the code is in my_function.py."""

from my_function import plugin

__all__ = ["plugin"]
