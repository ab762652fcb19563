"""
The node's log: one event a line, for people or for programs, on standard output and in a file.

`fields` says what an event is made of, `formats` writes it as a line, `observers` send lines somewhere,
`levels` leaves events out, `repeats` sums up those that come again and again, `files` rotates, `bridge` takes
what others log with the standard library, `cls` sends lines to Tencent CLS.
"""

from scfd.logs.bridge import bridge_stdlib
from scfd.logs.fields import about
from scfd.logs.files import log_file
from scfd.logs.levels import levels
from scfd.logs.observers import console, file_observer, finish, set_up, watch

__all__ = [
    "about",
    "bridge_stdlib",
    "console",
    "file_observer",
    "finish",
    "levels",
    "log_file",
    "set_up",
    "watch",
]
