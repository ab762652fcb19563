"""Signs what is sent to the control planes that ask for it."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from attrs import field, frozen

#: Seconds that a signature may be used for.
LIFETIME = 1800
_SCHEME = "moox-auth-v1"


@frozen
class Signer:
    """
    Makes the header ``Auth: moox-auth-v1/{access_key}/{unix seconds}/{lifetime}/{signature}``.

    :ivar now: the wall clock, seconds since the epoch.
    """

    access_key: str
    secret_key: str = field(repr=False)
    now: Callable[[], float] = field(repr=False)

    def sign(self, body: bytes) -> str:
        """
        :returns: the header's value for a request with this body. The signature is the hex
            HMAC-SHA256 of the body; its key is the hex HMAC-SHA256 of what stands before the
            signature, keyed by the secret key.
        """
        claim = f"{_SCHEME}/{self.access_key}/{int(self.now())}/{LIFETIME}"
        key = hmac.new(self.secret_key.encode(), claim.encode(), "sha256").hexdigest()
        signature = hmac.new(key.encode(), body, "sha256").hexdigest()
        return f"{claim}/{signature}"
