"""The factors beside published values, and beside what can be said without computing."""

import unittest

import numpy as np
from factors import exponential_average, macd, moving_average, rsi

#: StockCharts' ChartSchool, "Relative Strength Index": closes of QQQQ, and the RSI from the 15th on.
RSI_CLOSES = """44.3389 44.0902 44.1497 43.6124 44.3278 44.8264 45.0955 45.4245 45.8433 46.0826
    45.8931 46.0328 45.6140 46.2820 46.2820 46.0028 46.0328 46.4116 46.2222 45.6439 46.2122 46.2521
    45.7137 46.4515 45.7835 45.3548 44.0288 44.1783 44.2181 44.5672 43.4205 42.6628 43.1314"""
RSI_14 = """70.53 66.32 66.55 69.41 66.36 57.97 62.93 63.26 56.06 62.38 54.71 50.42 39.99 41.46
    41.87 45.46 37.30 33.08 37.77"""
#: The same, "Moving Averages": closes of Intel, and the exponential average of ten from the 10th on.
EMA_CLOSES = """22.2734 22.1940 22.0847 22.1741 22.1840 22.1344 22.2337 22.4323 22.2436 22.2933
    22.1542 22.3926 22.3816 22.6109 23.3558 24.0519 23.7530 23.8324 23.9516 23.6338 23.8225 23.8722
    23.6537 23.1870 23.0976 23.3260 22.6805 23.0976 22.4025 22.1725"""
EMA_10 = """22.22 22.21 22.24 22.27 22.33 22.52 22.80 22.97 23.13 23.28 23.34 23.43 23.51 23.54
    23.47 23.40 23.39 23.26 23.23 23.08 22.92"""


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


class PublishedTests(unittest.TestCase):
    def test_rsi(self) -> None:
        closes, expected = np.array(numbers(RSI_CLOSES)), numbers(RSI_14)
        found = [rsi(closes[:count]) for count in range(15, len(closes) + 1)]
        for value, published in zip(found, expected, strict=True):
            self.assertAlmostEqual(value or 0, published, delta=0.006)

    def test_exponential_average(self) -> None:
        averages = exponential_average(np.array(numbers(EMA_CLOSES)), 10)
        self.assertEqual([round(value, 2) for value in averages.tolist()], numbers(EMA_10))


class KnownTests(unittest.TestCase):
    def test_moving_average(self) -> None:
        self.assertEqual(moving_average(np.array([9.0, 1.0, 2.0, 3.0]), 3), 2.0)

    def test_macd_of_a_straight_line(self) -> None:
        """An average of n is (n - 1) / 2 steps behind: 5.5 and 12.5 steps, so they are 7 apart."""
        found = macd(np.arange(100.0)) or {}
        for key, expected in {"macd": 7, "signal": 7, "histogram": 0}.items():
            self.assertAlmostEqual(found[key], expected)

    def test_macd_turns_with_the_price(self) -> None:
        rising = np.arange(100.0)
        found = macd(np.append(rising, 90.0)) or {}
        self.assertLess(found["macd"], found["signal"])

    def test_rsi_at_its_ends(self) -> None:
        rising = np.arange(20.0)
        self.assertEqual([rsi(rising), rsi(-rising), rsi(rising * 0)], [100, 0, 50])

    def test_too_few_prices(self) -> None:
        closes = np.arange(33.0)
        self.assertEqual([moving_average(closes[:4], 5), rsi(closes[:14]), macd(closes)], [None] * 3)
        self.assertIsNotNone(rsi(closes[:15]))
        self.assertIsNotNone(macd(np.arange(34.0)))


if __name__ == "__main__":
    unittest.main()
