"""
The tests run on the reactor that the node runs on.

Trial imports this package before anything has imported the reactor, so ``trial tests`` needs no
``--reactor``.
"""

import sys

from twisted.internet import asyncioreactor

if "twisted.internet.reactor" not in sys.modules:
    asyncioreactor.install()
