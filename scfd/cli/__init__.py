"""
The command ``scfd``, for people; one module a command.

The daemon itself is ``twistd scfd``, see `scfd.tap`.
"""
