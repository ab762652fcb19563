"""
All but one thing is in setup.cfg: on a package index the README has no files beside it, so its links name
those of this release, where the source is published.
"""

import re
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def long_description() -> str:
    """README.rst with absolute links and pictures."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    _, source = config["metadata"]["project_urls"].split("Source = ")
    [version] = re.findall(r'(?m)^__version__ = "(.+)"', (ROOT / "scfd/__init__.py").read_text())
    text = (ROOT / "README.rst").read_text()
    # No scheme and no anchor of the page itself: a file or a folder.
    text = re.sub(r"<(?![\w+.-]+:|#)([^\s<>]+)>`_", rf"<{source}/blob/v{version}/\1>`_", text)
    return re.sub(r"(?m)^(\.\. image:: )(?!\w+:)", rf"\g<1>{source}/raw/v{version}/", text)


if __name__ == "__main__":
    from setuptools import setup

    setup(long_description=long_description())
