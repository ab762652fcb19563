"""Factors of closing prices: moving average, RSI and MACD. Each is None while there are too few prices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Prices = npt.NDArray[np.float64]


def moving_average(closes: Prices, period: int) -> float | None:
    """:returns: the mean of the last ``period`` prices."""
    return float(closes[-period:].mean()) if len(closes) >= period else None


def rsi(closes: Prices, period: int = 14) -> float | None:
    """:returns: Wilder's relative strength index, 0 to 100; 50 for prices that have not moved."""
    if len(closes) <= period:
        return None
    changes = np.diff(closes)
    ups = smoothed(np.maximum(changes, 0), period, 1 / period)[-1]
    downs = smoothed(np.maximum(-changes, 0), period, 1 / period)[-1]
    return float(100 * ups / (ups + downs)) if ups + downs else 50.0


def macd(closes: Prices, fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, float] | None:
    """:returns: ``macd``, how far the fast average is above the slow one; ``signal``, the average of that."""
    if len(closes) < slow + signal - 1:
        return None
    lines = exponential_average(closes, fast)[slow - fast :] - exponential_average(closes, slow)
    signals = exponential_average(lines, signal)
    return {
        "macd": float(lines[-1]),
        "signal": float(signals[-1]),
        "histogram": float(lines[-1] - signals[-1]),
    }


def exponential_average(values: Prices, period: int) -> Prices:
    return smoothed(values, period, 2 / (period + 1))


def smoothed(values: Prices, period: int, weight: float) -> Prices:
    """
    Let each value move an average by a part of their distance.

    :returns: the averages from the value number ``period`` on; the first one is the plain mean up to there.
    """
    average = float(values[:period].mean())
    averages = [average]
    for value in values[period:].tolist():
        average += weight * (value - average)
        averages.append(average)
    return np.array(averages)
