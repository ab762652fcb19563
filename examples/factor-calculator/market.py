"""Stands in for a market: k-lines that are made up, which each says as its ``source``."""

from __future__ import annotations

import math
import zlib
from typing import Any


def close(symbol: str, price: float, second: int) -> float:
    """:returns: a price that swings around another one, the same each time."""
    noise = zlib.crc32(f"{symbol} {second}".encode()) / 2**32 - 0.5
    return price * (1 + 0.02 * math.sin(second / 20) + 0.004 * noise)


def kline(symbol: str, price: float, second: int) -> dict[str, Any]:
    """:param second: Unix time, when the k-line opens."""
    opened, closed = close(symbol, price, second - 1), close(symbol, price, second)
    return {
        "symbol": symbol,
        "interval": "1s",
        "open_time": second * 1_000,  # Unix time in milliseconds
        "open": round(opened, 2),
        "high": round(max(opened, closed), 2),
        "low": round(min(opened, closed), 2),
        "close": round(closed, 2),
        "source": "generated",
    }
