"""Computes factors of each k-line that comes from JetStream, and publishes them. Begin at `on_message`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import field, frozen, validators
from factors import Prices, macd, moving_average, rsi
from jetstream import JetStream
from market import kline
from twisted.logger import Logger

from scfd.events import Message, Task, TaskResult, TaskStatus, TriggerEvent
from scfd.function import Framework, TaskPlugin

#: With more prices than this, computing takes more than a millisecond: other work shall not wait for that.
LONG = 2_000
#: How many seconds of the past the stand-in for the market publishes at first.
PAST = 60

log = Logger(namespace="scfd.plugin.factor-calculator")


@frozen
class Settings:
    """The `plugin` section of config.yaml."""

    nats_url: str
    #: The factors are those of so many k-lines. RSI and MACD remember their whole past, but fade.
    window: int = field(default=500, validator=validators.ge(34))


def compute(closes: Prices) -> dict[str, Any]:
    averages = {str(period): moving_average(closes, period) for period in (5, 20)}
    return {"ma": averages, "rsi": rsi(closes), "macd": macd(closes)}


class FactorCalculator(TaskPlugin[Settings]):
    name = "factor-calculator"

    def __init__(self, jetstream: Callable[[str], JetStream] = JetStream) -> None:
        self._make_jetstream = jetstream
        #: Closing prices by subject, then by when the k-line opened: one that comes again changes nothing.
        self._closes: dict[str, dict[int, float]] = {}
        self._published: dict[str, int] = {}  # by symbol, up to which second

    async def init(self, framework: Framework[Settings]) -> None:
        self._settings = framework.config.plugin
        self._now = framework.now
        self._jetstream = self._make_jetstream(self._settings.nats_url)
        await self._jetstream.connect()

    async def stop(self) -> None:
        await self._jetstream.close()

    async def on_message(self, message: Message, event: TriggerEvent) -> TaskResult:
        """Called for each k-line. When this fails, the k-line is delivered again."""
        data: dict[str, Any] = message.data
        closes = await self._closes_with(data, message)
        prices = np.array(list(closes.values()))
        factors = await asyncio.to_thread(compute, prices) if len(prices) > LONG else compute(prices)
        about = {key: data[key] for key in ("symbol", "interval", "open_time", "close", "source")}
        await self._jetstream.publish(f"factor.{data['symbol']}.{data['interval']}", {**about, **factors})
        text = shown(data, factors)
        log.info("{symbol}: {text}", symbol=data["symbol"], text=text)
        return TaskResult(data["symbol"], TaskStatus.SUCCESS, text)

    async def _closes_with(self, data: dict[str, Any], message: Message) -> dict[int, float]:
        """:returns: the last closing prices, oldest first; after a restart they come from the stream."""
        closes = self._closes.get(message.subject)
        if closes is None:
            before = await self._jetstream.before(message.subject, message.sequence)
            closes = {each["open_time"]: each["close"] for each in before}
        closes[data["open_time"]] = data["close"]
        newest = sorted(closes)[-self._settings.window :]
        self._closes[message.subject] = {open_time: closes[open_time] for open_time in newest}
        return self._closes[message.subject]

    async def on_task(self, task: Task, event: TriggerEvent) -> str:
        """Stand in for the market: publish a k-line of a symbol for each second since the last time."""
        symbol, now = task.task_id, int(self._now())
        last = self._published.get(symbol, now - PAST)
        for second in range(last + 1, now + 1):
            await self._jetstream.publish(f"kline.{symbol}.1s", kline(symbol, task.params["price"], second))
            self._published[symbol] = second
        return f"{now - last} k-lines made up"


def shown(data: dict[str, Any], factors: dict[str, Any]) -> str:
    """:returns: the factors in a line, for people."""
    values = {"ma5": factors["ma"]["5"], "ma20": factors["ma"]["20"], "rsi": factors["rsi"]}
    values["macd"] = factors["macd"] and factors["macd"]["histogram"]
    words = [f"{name} {value:.2f}" for name, value in values.items() if value is not None]
    return f"close {data['close']:.2f}, {', '.join(words) or 'too few k-lines'} ({data['source']})"


plugin = FactorCalculator()
