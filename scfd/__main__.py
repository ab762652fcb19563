"""``python -m scfd`` is the command ``scfd``."""

import sys

from scfd.cli.main import main

sys.exit(main())
