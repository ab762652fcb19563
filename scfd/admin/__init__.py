"""
The endpoint for operators: is the node alive, is it ready, what are its figures.

It reads what services have put into `scfd.status`; add a request here when operators need one.
"""
