"""The durable consumer of a trigger: made, updated, and watched for messages that pile up or get stuck."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from scfd.config import NatsSettings
from scfd.status.metrics import Metrics
from scfd.status.said import Said
from scfd.triggers.nats import consumer_config
from scfd.triggers.nats.acknowledged import Life
from scfd.triggers.nats.connection import Connection
from scfd.triggers.nats.consumer_config import Terms
from scfd.triggers.nats.jetstream import (
    CONSUMER_EXISTS,
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    BindError,
    JetStreamError,
    call,
)

_log = Logger(namespace="scfd.nats")

#: The server's code for a max_ack_pending beyond a limit of server, account or stream.
_TOO_MANY_PENDING = 10121


class Consumer:
    """
    The durable pull consumer of one trigger.

    :ivar config: its config, as the server has it; empty until it has been seen.
    :ivar terms: the part of it that deliveries depend on, kept up to date.
    :ivar paused: until when an operator has paused it, as the server writes it; empty when it is not.
    :ivar crowded: whether it has as many pull requests open as it takes, from all nodes together.
    :ivar floor: the last known ``ack_floor``: all messages up to this stream sequence are acknowledged.
        None until the consumer has been seen.
    :ivar pending: messages that it has not delivered yet; None until the server has said so.
    :ivar rebinds: counts how often it was bound again.
    """

    def __init__(self, connection: Connection, settings: NatsSettings, metrics: Metrics) -> None:
        self._connection = connection
        self._settings = settings
        self._name = f"consumer {settings.consumer_name} of stream {settings.stream}"
        self._stream_created = ""
        self._said = Said()
        self.pending: int | None = None
        self._pending = metrics.nats_pending.labels(settings.name)
        self._ack_pending = metrics.nats_ack_pending.labels(settings.name)
        self._is_paused = metrics.nats_paused.labels(settings.name)
        self._arrived_before = -1
        self.config: dict[str, Any] = {}
        self.terms = Terms.of(settings)
        self.paused = ""
        self.crowded = False
        self.floor: int | None = None
        self.rebinds = metrics.nats_rebinds.labels(settings.name)

    async def bind(self) -> Life:
        """
        Make the consumer, or apply to it what the config file sets; with ``bind``, only look at it.

        :returns: how it is now.
        :raises BindError: stream or consumer are missing, or can't be used, made or updated.
        :raises Exception: no response from the server; see `scfd.triggers.nats.jetstream.reason`.
        """
        made = False
        stream = {} if self._settings.bind else await self._stream()
        info = await self._info()
        if info is None and not self._settings.bind:
            # None when another node has made it in between.
            info = await self._make(stream)
            made = info is not None
            info = info or await self._info()
        if info is None:
            raise BindError(f"there is no {self._name}; make it, or let the node make it without bind: true")
        if why := consumer_config.unusable(info["config"]):
            raise BindError(f"{self._name} {why}: choose another consumer_name, or delete it")
        if not self._settings.bind:
            info = await self._update(info, stream)
        self._note(info)
        for remark in consumer_config.remarks(self._settings, self.config, stream):
            self._say(f"{self._name} {remark}")
        delivered = info["delivered"]
        leader = (info.get("cluster") or {}).get("leader", "")
        return Life(
            info["created"],
            self._connection.process_of(leader),
            delivered["consumer_seq"],
            delivered["stream_seq"],
            made,
        )

    async def look(self, arrived: int, expecting: bool) -> str | None:
        """
        Ask the server how many messages are waiting, and find out whether the consumer is stuck.

        :param arrived: how many messages have arrived so far.
        :param expecting: whether pull requests are open.
        :returns: why the consumer has to be bound again, or None. It has to be when it is gone, or when
            it has messages for this node and has sent none since the last look.
        :raises Exception: no response from the server; see `scfd.triggers.nats.jetstream.reason`.
        """
        try:
            info = await self._info()
        except BindError as error:
            return f"the consumer is gone: {error}"
        if info is None:
            return "the consumer is gone"
        self._note(info)
        due = expecting and info["num_pending"] and self._would_deliver(info)
        stuck = due and arrived == self._arrived_before
        self._arrived_before = arrived if due else -1
        return f"{info['num_pending']} messages are due and none arrives" if stuck else None

    def _would_deliver(self, info: dict[str, Any]) -> bool:
        """Whether nothing that operators have set keeps messages from this node."""
        limit = self.config.get("max_ack_pending", 0)
        # At max_ack_pending, counted over all nodes, the server sends no node anything more.
        full = 0 < limit <= info["num_ack_pending"]
        # All messages of such a consumer go to one node, which may be another.
        pinned = self.config.get("priority_policy") == "pinned_client"
        return not (full or pinned or self.paused)

    def _note(self, info: dict[str, Any]) -> None:
        self.config = info["config"]
        self.terms.update(self.config)
        self.paused = self.config.get("pause_until", "") if info.get("paused") else ""
        self._is_paused.set(bool(self.paused))
        self.crowded = 0 < self.config.get("max_waiting", 0) <= info.get("num_waiting", 0)
        self.floor = int(info["ack_floor"]["stream_seq"])
        self.pending = info["num_pending"]
        self._pending.set(info["num_pending"])
        self._ack_pending.set(info["num_ack_pending"])

    def _say(self, text: str) -> None:
        """Log a line, once in the life of the node."""
        if self._said.first(text):
            _log.info("{trigger}: {text}", trigger=self._settings.name, text=text)

    async def _info(self) -> dict[str, Any] | None:
        """
        :returns: the server's info of the consumer; None when there is none.
        :raises BindError: its stream is missing.
        """
        settings = self._settings
        subject = f"{settings.api}.CONSUMER.INFO.{settings.stream}.{settings.consumer_name}"
        try:
            return await call(self._connection, subject)
        except JetStreamError as error:
            if error.code == STREAM_NOT_FOUND:
                raise BindError(f"there is no stream {settings.stream}; make it, and its consumer") from None
            if error.code != CONSUMER_NOT_FOUND:
                raise
        return None

    async def _stream(self) -> dict[str, Any]:
        """:returns: the config of the stream."""
        settings = self._settings
        try:
            info = await call(self._connection, f"{settings.api}.STREAM.INFO.{settings.stream}")
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            info = await self._make_stream()
        if info["created"] != self._stream_created and self.floor is not None:
            # The stream was deleted and made again: all its messages are new to this node.
            self.floor = 0
        self._stream_created = info["created"]
        config: dict[str, Any] = info["config"]
        return config

    async def _make_stream(self) -> dict[str, Any]:
        name, subjects = self._settings.stream, list(self._settings.filters)
        if not self._settings.create_stream:
            raise BindError(
                f"there is no stream {name}; make it, or let the node make it with create_stream: true"
            )
        body = {"name": name, "subjects": subjects, "storage": "file", "num_replicas": 1}
        try:
            return await call(self._connection, f"{self._settings.api}.STREAM.CREATE.{name}", body)
        except JetStreamError as error:
            raise BindError(f"stream {name} can't be made: {error}") from None

    async def _make(self, stream: dict[str, Any]) -> dict[str, Any] | None:
        """:returns: the info of the new consumer; None when it exists already."""
        config = consumer_config.new_consumer(self._settings, stream, self.floor)
        try:
            try:
                info = await self._create(config, "create")
            except JetStreamError as error:
                if error.code != _TOO_MANY_PENDING or self._settings.max_ack_pending is not None:
                    raise
                # A limit of the server or the account: let the server choose.
                del config["max_ack_pending"]
                info = await self._create(config, "create")
        except JetStreamError as error:
            if error.code == CONSUMER_EXISTS:
                return None
            raise BindError(f"{self._name} can't be made: {error}") from None
        start = ("deliver_policy", "opt_start_seq", "opt_start_time")
        text = " ".join(str(info["config"][name]) for name in start if name in config)
        _log.info(
            "{trigger}: made {what}, deliver {start}",
            trigger=self._settings.name,
            what=self._name,
            start=text,
        )
        return info

    async def _update(self, info: dict[str, Any], stream: dict[str, Any]) -> dict[str, Any]:
        """:returns: the consumer's info after the update."""
        old = info["config"]
        new = consumer_config.changed(self._settings, old, stream)
        if new is None:
            return info
        difference = consumer_config.difference(old, new)
        try:
            info = await self._create(new, "update")
        except JetStreamError as error:
            raise BindError(f"{self._name} can't be updated ({difference}): {error}") from None
        _log.info(
            "{trigger}: changed {what}: {difference}",
            trigger=self._settings.name,
            what=self._name,
            difference=difference,
        )
        return info

    async def _create(self, config: dict[str, Any], action: str) -> dict[str, Any]:
        """:param action: ``create`` or ``update``; servers before 2.10 do whichever is needed."""
        settings = self._settings
        subject = f"{settings.api}.CONSUMER.CREATE.{settings.stream}.{settings.consumer_name}"
        if config.get("filter_subject"):
            subject += f".{config['filter_subject']}"
        body = {"stream_name": settings.stream, "config": config, "action": action}
        return await call(self._connection, subject, body)
