"""
The plugin, wherever it runs: in this process, or behind HTTP in its own.

`http` and `native` are the two adapters; everything else serves one of them. What the node may ask
of a plugin is in `scfd.interfaces`.
"""
