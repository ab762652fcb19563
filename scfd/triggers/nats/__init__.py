"""NATS triggers: messages of JetStream streams become events, acknowledged after the work."""
