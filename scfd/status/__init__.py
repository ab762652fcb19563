"""
What a node says of itself: is it ready, how much has it done.

Services write here, `scfd.admin` and the gateway read; nothing here acts on the node.
"""
