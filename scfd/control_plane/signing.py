"""Signs what is sent to the control planes that ask for it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from attrs import field, frozen

#: Seconds that a signature may be used for.
LIFETIME = 1800
#: Seconds by which the clocks of node and server may differ.
CLOCK_DIFFERENCE = 300
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
        return self._signed(f"{_SCHEME}/{self.access_key}/{int(self.now())}/{LIFETIME}", body)

    def _signed(self, claim: str, body: bytes) -> str:
        key = hmac.new(self.secret_key.encode(), claim.encode(), "sha256").hexdigest()
        signature = hmac.new(key.encode(), body, "sha256").hexdigest()
        return f"{claim}/{signature}"

    def verifies(self, header: str, body: bytes) -> bool:
        """Whether a header's value is one that a server with these keys takes for this body."""
        found = re.fullmatch(rf"({_SCHEME}/([^/]+)/(\d{{1,12}})/(\d{{1,6}}))/[0-9a-f]+", header, re.ASCII)
        if found is None or found[2] != self.access_key:
            return False
        made, lifetime, now = int(found[3]), int(found[4]), self.now()
        in_time = made - CLOCK_DIFFERENCE <= now <= made + lifetime + CLOCK_DIFFERENCE
        return (
            1 <= lifetime <= LIFETIME
            and in_time
            and hmac.compare_digest(header, self._signed(found[1], body))
        )
