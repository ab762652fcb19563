"""
Timer triggers: cron expressions that become events, each at its own second.

`cron` and `moments` are pure functions of time; only `trigger`, `ticks` and `standstill` know the reactor.
"""
