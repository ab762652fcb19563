"""
What CLS is sent: a protobuf LogGroupList, compressed, signed.

The official tencentcloud-cls-sdk-python 1.0.9 pins protobuf below 4 and lz4 below 3.1.3, which has no wheels
for Python 3.11; most plugins need newer ones. So the same bytes are made here with current releases. A test
compares them with that SDK's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import lz4.block
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from scf_log.config import Credentials

PATH = "/structuredlog"
CONTENT_TYPE = "application/x-protobuf"
#: Seconds that a signature holds, and those by which the clocks may differ.
_HOLDS, _SKEW = 300, 60


def _message_class() -> Any:
    """The class LogGroupList, as Tencent's cls.proto (proto2) has it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="scf_log_cls.proto", package="scf_log_cls", syntax="proto2"
    )

    def add(to: Any, name: str, *members: tuple[str, int, int, str]) -> Any:
        message = to.add(name=name)
        for number, (member, kind, label, type_name) in enumerate(members, start=1):
            message.field.add(name=member, number=number, type=kind, label=label, type_name=type_name or None)
        return message

    text, number, message = field.TYPE_STRING, field.TYPE_INT64, field.TYPE_MESSAGE
    needed, optional, many = field.LABEL_REQUIRED, field.LABEL_OPTIONAL, field.LABEL_REPEATED
    pair = (("key", text, needed, ""), ("value", text, needed, ""))
    log = add(
        file.message_type,
        "Log",
        ("time", number, needed, ""),
        ("contents", message, many, ".scf_log_cls.Log.Content"),
    )
    add(log.nested_type, "Content", *pair)
    add(file.message_type, "LogTag", *pair)
    add(
        file.message_type,
        "LogGroup",
        ("logs", message, many, ".scf_log_cls.Log"),
        ("contextFlow", text, optional, ""),
        ("filename", text, optional, ""),
        ("source", text, optional, ""),
        ("logTags", message, many, ".scf_log_cls.LogTag"),
    )
    add(file.message_type, "LogGroupList", ("logGroupList", message, many, ".scf_log_cls.LogGroup"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("scf_log_cls.LogGroupList"))


_LogGroupList = _message_class()


def encode(entries: Sequence[tuple[int, Mapping[str, str]]], source: str) -> bytes:
    """
    :param entries: moments in microseconds since the epoch, and fields.
    :returns: a LogGroupList with one group, compressed as one LZ4 block without its length.
    """
    groups = _LogGroupList()
    group = groups.logGroupList.add()
    group.source = source
    for moment, fields in entries:
        log = group.logs.add()
        log.time = moment
        for key, value in fields.items():
            log.contents.add(key=_utf8(key), value=_utf8(value))
    return bytes(lz4.block.compress(groups.SerializeToString(), store_size=False))


def _utf8(text: str) -> str:
    """Half surrogate pairs, such as those of file names that are not UTF-8, can't be sent."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def authorization(
    credentials: Credentials, params: Mapping[str, str], headers: Mapping[str, str], now: int
) -> str:
    """
    Tencent's ``q-sign-algorithm=sha1`` signature of a POST to `PATH`.

    :param headers: those that are signed, by lower-case name.
    :param now: seconds since the epoch.
    """

    def joined(pairs: Mapping[str, str]) -> str:
        return "&".join(f"{name}={quote_plus(value)}" for name, value in sorted(pairs.items()))

    request = f"post\n{PATH}\n{joined(params)}\n{joined(headers)}\n"
    period = f"{now - _SKEW};{now + _HOLDS}"
    to_sign = f"sha1\n{period}\n{hashlib.sha1(request.encode()).hexdigest()}\n"
    key = hmac.new(credentials.secret_key.encode(), period.encode(), hashlib.sha1).hexdigest()
    signature = hmac.new(key.encode(), to_sign.encode(), hashlib.sha1).hexdigest()
    return (
        f"q-sign-algorithm=sha1&q-ak={credentials.secret_id}&q-sign-time={period}&q-key-time={period}"
        f"&q-header-list={';'.join(sorted(headers))}&q-url-param-list={';'.join(sorted(params))}"
        f"&q-signature={signature}"
    )
