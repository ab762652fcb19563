"""
The front door: what scfd adds to the reverse proxy in `scfd.http1`.

Routes of its own, a native plugin's web resource, TLS, metrics and the access log; nothing here reads bytes.
"""
