"""
NATS triggers: messages of JetStream streams become events, acknowledged after the work.

`trigger` binds a `consumer`, asks for messages by `pulls`, hands them to `deliveries`, and those end in
`acks`. Only `client` knows of nats-py's own affairs.
"""
