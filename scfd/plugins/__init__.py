"""
Where native plugins may live that need the reactor when they are imported.

A folder ``scfd/plugins`` without an ``__init__.py``, anywhere on ``sys.path``, adds its modules to
this package. ``twistd`` reads ``twisted/plugins`` before the reactor is chosen, and a module there
that imports the reactor chooses it; this package is read only after that.
"""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
