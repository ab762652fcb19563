"""
What travels through a node: events, responses, task results, the task list.

Plain values; nothing here knows a service. Add a field here when the wire gets one.
"""
