"""
What makes events: timers and messages.

A trigger knows a callable ``dispatch(event)`` and whether the plugin is available; what is behind them is not
its business.
"""
