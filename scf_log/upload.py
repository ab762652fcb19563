"""One upload to CLS, and what its response means."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote_plus, urlsplit

from scf_log.config import CLSConfig
from scf_log.wire import CONTENT_TYPE, PATH, authorization, encode

#: Seconds for one try.
TIMEOUT = 30.0
#: What CLS says when a later try may do better, besides HTTP 429 and 5xx.
_PASSING = frozenset({"InternalError", "Timeout", "SpeedQuotaExceed", "ReachQuota", "QuotaExceed"})


class RetryError(Exception):
    """The upload failed, and a later try may do better. The text says why."""


class RefusedError(Exception):
    """CLS does not take it, whenever it is sent. The text says why."""


class Uploader:
    """
    Uploads over one connection that is kept. Not for several threads at once.

    :ivar timeout: seconds for one try.
    """

    timeout = TIMEOUT

    def __init__(self, config: CLSConfig) -> None:
        self._config = config
        parts = urlsplit(config.host if "://" in config.host else f"https://{config.host}")
        self._host, self._port, self._tls = parts.hostname or "", parts.port, parts.scheme == "https"
        self._connection: http.client.HTTPConnection | None = None

    def upload(self, entries: Sequence[tuple[int, Mapping[str, str]]]) -> None:
        """:raises RetryError: :raises RefusedError:"""
        body = encode(entries, self._config.source)
        credentials = self._config.credentials()
        signed = {"content-type": CONTENT_TYPE, "host": self._host}
        params = {"topic_id": self._config.topic_id}
        headers = {
            "Host": self._host,
            "Content-Type": CONTENT_TYPE,
            "x-cls-compress-type": "lz4",
            "Authorization": authorization(credentials, params, signed, int(time.time())),
        }
        if credentials.token:
            headers["X-Cls-Token"] = credentials.token
        try:
            status, text = self._exchange(
                f"{PATH}?topic_id={quote_plus(self._config.topic_id)}", body, headers
            )
        except ValueError as error:  # its text would show them
            self.close()
            raise RefusedError("the credentials have characters that no header can carry") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RetryError(f"{type(error).__name__}: {error}") from error
        if status != 200:
            code = _code(text)
            kind = RetryError if status >= 500 or status == 429 or code in _PASSING else RefusedError
            raise kind(f"HTTP status {status}: {text[:200].decode('utf-8', 'replace')}")

    def _exchange(self, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=self.timeout)
        self._connection.request("POST", target, body, dict(headers))
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _code(text: bytes) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    return str(value.get("errorcode", "")) if isinstance(value, dict) else ""
