"""
A NATS server with JetStream, in memory: what the node's triggers and plugins use of it.

Streams keep everything, as those of ``dev.nats`` do. Consumers are pull consumers with explicit acks. The
same tests run with this and with nats-server: ``tests/jetstream_contract.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scfd.config.nats import subjects_overlap
from scfd.events.wire import from_json, to_json
from scfd.testing.consumer import Consumer, Delivered
from scfd.testing.stream import Stream
from scfd.triggers.nats.consumer_config import filters_of

#: Bytes of a message, headers included, that the server takes; nats-server's default.
MAX_PAYLOAD = 1 << 20


class ApiError(Exception):
    """A refusal of JetStream's API: HTTP-like code, ``err_code``, description."""

    def as_json(self) -> bytes:
        code, err_code, description = self.args
        return to_json({"error": {"code": code, "err_code": err_code, "description": description}})


class JetStream:
    """
    :param clock: an `IReactorTime`, for deadlines.
    :param now: the wall clock, seconds since the epoch.
    :param changed: called after whatever may have changed `idle`.
    """

    def __init__(
        self, clock: Any, now: Callable[[], float], changed: Callable[[], object] = lambda: None
    ) -> None:
        self._clock = clock
        self._now = now
        self._changed = changed
        self.streams: dict[str, Stream] = {}
        #: By the names of stream and consumer.
        self._consumers: dict[tuple[str, str], Consumer] = {}
        self._inboxes: dict[str, list[Callable[[Delivered], object]]] = {}

    @property
    def idle(self) -> bool:
        """Whether each consumer waits for messages, and none is with a client."""
        return all(consumer.idle for consumer in self._consumers.values())

    def make_stream(self, name: str, subjects: Iterable[str], retention: str = "limits") -> Stream:
        """:raises ApiError: another stream has one of the subjects."""
        config = {"name": name, "subjects": list(subjects), "retention": retention, "storage": "memory"}
        return self._make_stream(name, config)

    def subscribe(self, subject: str, callback: Callable[[Delivered], object]) -> Callable[[], None]:
        """:returns: what ends the subscription."""
        callbacks = self._inboxes.setdefault(subject, [])
        callbacks.append(callback)

        def unsubscribe() -> None:
            callbacks.remove(callback)
            if not callbacks:
                self._inboxes.pop(subject, None)
                for consumer in self._consumers.values():
                    consumer.forget(subject)
                self._changed()

        return unsubscribe

    def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> bool:
        """
        Take a message as from a client.

        :returns: whether anybody has it: a stream, the API, a subscription.
        """
        parts = subject.split(".")
        if parts[:2] == ["$JS", "ACK"]:
            self._ack(parts, data, reply)
            return True
        if "API" in parts[1:3]:
            return self._api(parts[parts.index("API") + 1 :], data, reply)
        stream = self.stream_of(subject)
        if stream is not None:
            sequence, duplicate = self.store(stream, subject, data, dict(headers or {}))
            ack = {"stream": stream.name, "seq": sequence, **({"duplicate": True} if duplicate else {})}
            if reply:
                self._send(reply, to_json(ack))
        delivered = self._send(subject, data, headers)
        return stream is not None or delivered

    def store(self, stream: Stream, subject: str, data: bytes, headers: dict[str, str]) -> tuple[int, bool]:
        """:returns: see `Stream.add`."""
        stored = stream.add(subject, data, headers, self._now())
        for (name, _), consumer in self._consumers.items():
            if name == stream.name:
                consumer.pump()
        self._changed()
        return stored

    def stream_of(self, subject: str) -> Stream | None:
        """The stream that keeps messages with a subject; None when there is none."""
        return next((stream for stream in self.streams.values() if stream.takes(subject)), None)

    def expected(self) -> str:
        """Which subjects the streams take, for somebody who has used another."""
        subjects = [subject for stream in self.streams.values() for subject in stream.config["subjects"]]
        return f"expected a subject of {', '.join(subjects)}" if subjects else "there are no streams"

    def _send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> bool:
        return self._deliver(subject, Delivered(subject, "", data, dict(headers) if headers else None))

    def _deliver(self, inbox: str, message: Delivered) -> bool:
        callbacks = self._inboxes.get(inbox, ())
        for callback in tuple(callbacks):
            callback(message)
        return bool(callbacks)

    def _ack(self, parts: list[str], data: bytes, reply: str) -> None:
        stream, name = (parts[2:4]) if len(parts) == 9 else parts[4:6]
        consumer = self._consumers.get((stream, name))
        if consumer is not None:
            consumer.acknowledged(int(parts[-4]), data)
            if reply:
                self._send(reply, b"")
        self._changed()

    def _api(self, parts: list[str], data: bytes, reply: str) -> bool:
        known = {
            "STREAM.INFO": self._stream_info,
            "STREAM.CREATE": self._create_stream,
            "STREAM.NAMES": self._stream_names,
            "CONSUMER.INFO": self._consumer_info,
            "CONSUMER.CREATE": self._create_consumer,
            "CONSUMER.DELETE": self._delete_consumer,
        }
        method, rest = ".".join(parts[:2]), parts[2:]
        if parts[:3] == ["CONSUMER", "MSG", "NEXT"]:
            self._pull(parts[3], parts[4], data, reply)
            return True
        if method not in known:
            return False
        try:
            response = to_json(known[method](rest, from_json(data) if data else {}))
        except ApiError as error:
            response = error.as_json()
        self._send(reply, response)
        self._changed()
        return True

    def _pull(self, stream: str, name: str, data: bytes, reply: str) -> None:
        consumer = self._consumers.get((stream, name))
        if consumer is not None:
            consumer.pulled(reply, from_json(data) if data else {})
            self._changed()

    def _stream(self, name: str) -> Stream:
        if name not in self.streams:
            raise ApiError(404, 10059, "stream not found")
        return self.streams[name]

    def _consumer(self, rest: list[str]) -> Consumer:
        consumer = self._consumers.get((self._stream(rest[0]).name, rest[1]))
        if consumer is None:
            raise ApiError(404, 10014, "consumer not found")
        return consumer

    def _stream_info(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        return self._stream(rest[0]).info()

    def _stream_names(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        stream = self.stream_of(body["subject"])
        return {"streams": [stream.name] if stream is not None else None}

    def _create_stream(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        return self._make_stream(rest[0], {"retention": "limits", **body}).info()

    def _make_stream(self, name: str, config: dict[str, Any]) -> Stream:
        known = self.streams.get(name)
        if known is not None and known.config["subjects"] != config["subjects"]:
            raise ApiError(400, 10058, "stream name already in use with a different configuration")
        if known is not None:
            return known
        taken = [one for stream in self.streams.values() for one in stream.config["subjects"]]
        if any(subjects_overlap(one, other) for one in taken for other in config["subjects"]):
            raise ApiError(400, 10065, "subjects overlap with an existing stream")
        self.streams[name] = Stream(config, self._now())
        return self.streams[name]

    def _consumer_info(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        return self._consumer(rest).info()

    def _create_consumer(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        stream, name = self._stream(rest[0]), rest[1]
        known = self._consumers.get((stream.name, name))
        config, action = dict(body["config"]), body.get("action", "")
        if known is not None and action == "create" and not known.is_made_by(config):
            raise ApiError(400, 10148, "consumer already exists")
        if known is None and action == "update":
            raise ApiError(400, 10149, "consumer does not exist")
        if known is not None:
            if action != "create":
                known.update(config)
            return known.info()
        if stream.config["retention"] == "workqueue":
            self._check_work_queue(stream, config)
        consumer = Consumer(stream, name, config, self._clock, self._now, self._deliver)
        self._consumers[stream.name, name] = consumer
        consumer.after = self._changed
        return consumer.info()

    def _check_work_queue(self, stream: Stream, config: dict[str, Any]) -> None:
        """Each message of a work queue has one consumer."""
        if config.get("deliver_policy", "all") != "all":
            raise ApiError(400, 10101, "consumer must be deliver all on workqueue stream")
        wanted = filters_of(config)
        for (name, _), other in self._consumers.items():
            theirs = filters_of(other.config)
            if name == stream.name and not (wanted and theirs):
                raise ApiError(400, 10099, "multiple non-filtered consumers not allowed on workqueue stream")
            if name == stream.name and any(subjects_overlap(one, two) for one in wanted for two in theirs):
                raise ApiError(400, 10100, "filtered consumer not unique on workqueue stream")

    def _delete_consumer(self, rest: list[str], body: dict[str, Any]) -> dict[str, Any]:
        self._consumer(rest).deleted()
        del self._consumers[rest[0], rest[1]]
        return {"success": True}
