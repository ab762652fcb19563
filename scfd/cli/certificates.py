"""Looks at the certificates and keys that a config names."""

from __future__ import annotations

import os
import re
import ssl
import time
from pathlib import Path
from typing import Any

from scfd.cli.notes import Notes
from scfd.config import Config, NatsSettings
from scfd.errors import StartupError

_DAY = 24 * 3600
#: Seconds. Certificates that are renewed by a program have 30 days left when it does.
_SOON = 21 * _DAY
_VALID = "expected a certificate that is valid now"


def look_at_certificates(config: Config, notes: Notes) -> None:
    """Readable, PEM, a pair, not expired; and the files that NATS logins need."""
    tls = config.gateway.tls if config.gateway is not None else None
    if tls is not None:
        from scfd.gateway.service import server_context

        with notes.mistakes_of("gateway.tls"):
            server_context(tls)
            _look_at_dates("gateway.tls.cert", tls.cert, notes)
    for index, trigger in enumerate(config.triggers):
        if isinstance(trigger, NatsSettings):
            _look_at_login(trigger, f"triggers[{index}].settings", notes)


def _look_at_login(trigger: NatsSettings, key: str, notes: Notes) -> None:
    from scfd.triggers.nats.access import SEED, Access

    try:
        Access.of(trigger).options()
    except StartupError as error:
        name, _, text = str(error).removeprefix("NATS: ").partition(": ")
        notes.mistake(f"{key}.{name}", text)
        return
    for name in ("ca", "cert") if trigger.tls is not None else ():
        if path := getattr(trigger.tls, name):
            _look_at_dates(f"{key}.tls.{name}", path, notes)
    for name, pattern, what in (
        ("nkey", SEED.pattern, "the seed of an NKey, which begins with SU"),
        ("credentials", f"BEGIN NATS USER JWT(?s:.*){SEED.pattern}", "a user JWT and its seed"),
    ):
        value = getattr(trigger, name)
        if value and not SEED.fullmatch(value) and not re.search(pattern.encode(), Path(value).read_bytes()):
            notes.mistake(f"{key}.{name}", f"{os.path.basename(value)} is another file; expected {what}")


def _look_at_dates(key: str, path: str, notes: Notes) -> None:
    """Of the first certificate in a file."""
    found = _decoded(path)
    if found is None:
        return
    begins, ends = (ssl.cert_time_to_seconds(found[name]) for name in ("notBefore", "notAfter"))
    now = time.time()
    if now > ends:
        notes.mistake(key, f"{path} has expired on {found['notAfter']}; {_VALID}")
    elif now < begins:
        notes.mistake(key, f"{path} is not valid before {found['notBefore']}; {_VALID}")
    elif ends - now < _SOON:
        days = int((ends - now) // _DAY)
        text = f"{path} expires in {days} days, on {found['notAfter']}"
        notes.warning(key, f"{text}; expected a newer one by then")


def _decoded(path: str) -> Any:
    try:
        # The only reader of dates in the standard library; CPython's own tests use it.
        return ssl._ssl._test_decode_cert(path)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ssl.SSLError):
        return None
