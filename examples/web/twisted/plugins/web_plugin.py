"""Where scfd finds the plugin; the code is in disk_pages.py."""

from disk_pages import plugin

__all__ = ["plugin"]
