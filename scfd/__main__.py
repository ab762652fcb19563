"""The command ``scfd``, and ``python -m scfd``."""

import sys

from scfd import signals


def main() -> int:
    """:returns: the exit status."""
    if sys.argv[1:2] == ["run"]:
        signals.end_at_once()  # before the imports below, which take a fifth of a second
    from scfd.cli.main import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
