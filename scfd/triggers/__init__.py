"""What makes events: timers and messages."""
