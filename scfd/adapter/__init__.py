"""The plugin, wherever it runs: in this process, or behind HTTP in its own."""
