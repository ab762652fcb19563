"""
Makes a function's package for SCF: a zip that boots there. `make` is the way through: what a config needs,
wheels for another Python, the files put together, what SCF demands of them, the proof.
"""
