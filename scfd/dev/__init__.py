"""
Stand-ins for what surrounds a node, so that it runs where there is nothing else.

For development and the demo: nothing of a production node imports this.
"""
