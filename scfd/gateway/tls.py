"""The certificate of the gateway. Imported only where there is one: OpenSSL costs 40 ms and 12 MiB."""

from __future__ import annotations

import ssl

from scfd.config import TlsSettings
from scfd.errors import StartupError

#: What OpenSSL says of a key of the same kind, and of another kind.
_NOT_A_PAIR = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """
    :returns: TLS 1.2 and newer, HTTP/1.1 only.
    :raises StartupError: when the files can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for key, path in (("cert", settings.cert), ("key", settings.key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise StartupError(
                f"gateway.tls.{key}: can't read {path}: {error.strerror}; it has to be a PEM file"
            ) from error
    try:
        context.load_cert_chain(settings.cert, settings.key, password=_no_password)
    except ssl.SSLError as error:
        raise StartupError(f"gateway.tls: {_reason(error, settings)}") from error
    return context


def _no_password() -> str:
    """Asked for the key's password, OpenSSL would read the terminal."""
    return ""


def _reason(error: ssl.SSLError, settings: TlsSettings) -> str:
    if error.reason in _NOT_A_PAIR:
        return f"the key {settings.key} is not the one of the certificate {settings.cert}"
    why = f" ({error.reason})" if error.reason else ""
    return (
        f"{settings.cert} and {settings.key} can't be used{why}; expected PEM files with a certificate "
        "chain, and with its key, which has no password"
    )
