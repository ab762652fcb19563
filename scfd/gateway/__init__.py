"""The front door: the HTTP server that callers and the control plane talk to."""
