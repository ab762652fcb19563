"""Which servers a trigger speaks to, and how it proves who it is."""

from __future__ import annotations

import os
import re
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, fields, frozen

from scfd.config import NatsSettings, NatsTlsSettings
from scfd.config.findings import without_credentials
from scfd.errors import StartupError, describe

#: The seed of a user's NKey: base32.
SEED = re.compile(r"SU[A-Z2-7]{56}")


@frozen
class Access:
    """
    Triggers whose access is equal share a connection. The fields are those of the config.

    :ivar url: one server or several joined by commas.
    """

    url: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    nkey: str = field(default="", repr=False)
    credentials: str = ""
    tls: NatsTlsSettings | None = None
    inbox_prefix: str = ""

    @classmethod
    def of(cls, settings: NatsSettings) -> Access:
        """The access of one trigger."""
        return cls(**{one.name: getattr(settings, one.name) for one in fields(cls)})

    @property
    def shown(self) -> str:
        """The servers, without credentials."""
        return without_credentials(self.url)

    @property
    def servers(self) -> list[str]:
        """The URLs, one by one."""
        return [url.strip() for url in self.url.split(",")]

    def options(self) -> dict[str, Any]:
        """
        :returns: what `nats.aio.client.Client.connect` needs besides a server.
        :raises StartupError: a file can't be read.
        """
        options: dict[str, Any] = {}
        if self.user:
            options.update(user=self.user, password=self.password)
        elif self.token:
            options.update(token=self.token)
        elif self.nkey:
            if SEED.fullmatch(self.nkey):
                options.update(nkeys_seed_str=self.nkey)
            else:
                options.update(nkeys_seed=_readable("nkey", self.nkey))
        elif self.credentials:
            options.update(user_credentials=_readable("credentials", self.credentials))
        if self.tls is not None:
            options.update(tls=_tls_context(self.tls), tls_handshake_first=self.tls.handshake_first)
        if self.inbox_prefix:
            options.update(inbox_prefix=self.inbox_prefix)
        return options


def login_of(server: str) -> dict[str, str]:
    """The credentials in a server's URL: user and password, a token, or nothing."""
    url = urlsplit(server)
    if url.username is None:
        return {}
    if url.password is None:
        return {"token": unquote(url.username)}
    return {"user": unquote(url.username), "password": unquote(url.password)}


def without_login(server: str) -> str:
    """A server's URL without the credentials in it."""
    url = urlsplit(server)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def _readable(setting: str, path: str) -> str:
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise StartupError(f"NATS: {setting}: {os.path.basename(path)}: {error.strerror}") from None


def _tls_context(tls: NatsTlsSettings) -> ssl.SSLContext:
    """Servers are always verified, against ``ca`` or what the system trusts."""
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(f"NATS: tls.ca: {tls.ca}: {describe(error)}; expected a PEM file") from None
    if tls.cert:
        try:
            # Asked for the key's password, OpenSSL would read the terminal.
            context.load_cert_chain(tls.cert, tls.key or None, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            files = f"{tls.cert}, {tls.key}: {describe(error)}"
            text = "expected PEM files of a certificate and its key, which has no password"
            raise StartupError(f"NATS: tls.cert: {files}; {text}") from None
    return context
