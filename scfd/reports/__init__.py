"""
Task results on their way to the control plane: on disk from the moment they are accepted until delivered.

The only package that writes to ``system.state_dir``.
"""
