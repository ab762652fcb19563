"""Tests for scf_log, against an endpoint that checks signatures."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from scf_log import AsyncProducer, CLSConfig, CLSHandler, setup_cls_logging
from scf_log.config import Credentials
from scf_log.wire import authorization, encode
from tests.cls_endpoint import Endpoint, cut, respond

ROOT = Path(__file__).resolve().parents[1]
#: What tencentcloud-cls-sdk-python 1.0.9 makes of `ENTRIES`, compressed, and what it signs: the output of
#: `.ci/check_cls_wire.py` in an environment of its own.
ENTRIES = [(1_700_000_000_000_001, {"Level": "INFO", "Msg": "grüße"}), (1_700_000_000_000_002, {"k": ""})]
SDK_BYTES = bytes.fromhex(
    "f4210a450a28088180f9c0c1c48203120d0a054c6576656c1204494e464f120e0a034d736712076772c3bcc39f650a1008822a00"
    "f000050a016b12002207312e322e332e34"
)
SDK_SIGNATURE = (
    "q-sign-algorithm=sha1&q-ak=AKID&q-sign-time=1699999940;1700000300&q-key-time=1699999940;1700000300"
    "&q-header-list=content-type;host&q-url-param-list=topic_id"
    "&q-signature=b24a6b66aa2e8342f5eb38dc639eab0d4e10ac72"
)

SCRIPT = """
import logging, sys
sys.path.insert(0, {root!r})
from scf_log import setup_cls_logging
setup_cls_logging(config_dict=dict(
    topic_id="topic", host={url!r}, secret_id="id", secret_key="key", max_batch_count=1000,
    base_retry_backoff_ms=10,
))
for number in range(5000):
    logging.getLogger("script").info("entry %d", number)
"""


class SendingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.endpoint = Endpoint()
        self.addCleanup(self.endpoint.close)

    def config(self, **more: Any) -> CLSConfig:
        settings: dict[str, Any] = {
            "topic_id": "topic",
            "host": self.endpoint.url,
            "secret_id": "id",
            "secret_key": "key",
            "linger_ms": 20,
            "base_retry_backoff_ms": 1,
            **more,
        }
        return CLSConfig.from_dict(settings)

    def producer(self, **more: Any) -> AsyncProducer:
        producer = AsyncProducer(self.config(**more))
        self.addCleanup(producer.close, 0)
        return producer

    def logger(self, **more: Any) -> tuple[logging.Logger, CLSHandler]:
        handler = setup_cls_logging(config=self.config(**more), logger_name="tests.scf_log")
        logger = logging.getLogger("tests.scf_log")
        logger.propagate = False
        self.addCleanup(handler.close)
        self.addCleanup(logger.removeHandler, handler)
        return logger, handler


class HandlerTests(SendingTestCase):
    def test_fields(self) -> None:
        logger, handler = self.logger(source="1.2.3.4", field_map={"Msg": "message"})
        handler.set_context_fields(nodeID="node-abc", version=1)
        logger.info("collected %d", 7, extra={"symbol": "BTC", "Level": "not this"})
        try:
            raise KeyError("x")
        except KeyError:
            logger.exception("failed")
        self.assertTrue(handler.producer.flush(5))
        (moment, first), (_, second) = self.endpoint.taken
        self.assertLess(abs(moment / 1e6 - time.time()), 30)
        caller = first.pop("Caller")
        self.assertRegex(caller, r"^test_scf_log\.py:\d+$")
        self.assertRegex(first.pop("Time"), r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
        expected = {
            "Level": "INFO",
            "message": "collected 7",
            "func": "test_fields",
            "Name": "tests.scf_log",
            "nodeID": "node-abc",
            "version": "1",
            "symbol": "BTC",
        }
        self.assertEqual(first, expected)
        self.assertEqual(second["message"], "failed")
        self.assertIn("KeyError: 'x'", second["StackTrace"])
        self.assertEqual(self.endpoint.sources, {"1.2.3.4"})
        self.assertEqual(self.endpoint.wrong, [])

    def test_what_can_not_be_encoded(self) -> None:
        logger, handler = self.logger()
        logger.info("half \ud800, zero \0")
        self.assertTrue(handler.producer.flush(5))
        self.assertEqual(self.endpoint.taken[0][1]["Msg"], "half \\ud800, zero \0")

    def test_level(self) -> None:
        handler = setup_cls_logging(config=self.config(), level="WARNING", logger_name="tests.scf_log.level")
        self.addCleanup(handler.close)
        logger = logging.getLogger("tests.scf_log.level")
        logger.info("not this")
        logger.warning("this")
        handler.flush()
        self.assertEqual([fields["Msg"] for _, fields in self.endpoint.taken], ["this"])

    def test_spellings_of_levels(self) -> None:
        for text, level in (("warn", 30), ("Warning", 30), ("err", 40), ("fatal", 50), ("debug", 10), (7, 7)):
            self.assertEqual(CLSHandler(self.config(), text).level, level)
        self.assertRaises(ValueError, CLSHandler, self.config(), "loud")


class ProducerTests(SendingTestCase):
    def test_batches_by_count_and_by_size(self) -> None:
        producer = self.producer(max_batch_count=10, linger_ms=60_000)
        for number in range(25):
            producer.send({"n": str(number)})
        self.assertTrue(producer.flush(5))
        self.assertEqual(sorted(self.endpoint.uploads), [5, 10, 10])
        small = self.producer(max_batch_size=1800, linger_ms=60_000)
        for _ in range(4):
            small.send({"text": "x" * 400})
        self.assertTrue(small.flush(5))
        self.assertEqual(self.endpoint.uploads[3:], [2, 2])
        self.assertEqual((producer.sent, small.sent, producer.dropped), (25, 4, 0))

    def test_one_larger_than_a_batch_goes_alone(self) -> None:
        producer = self.producer(max_batch_size=100)
        producer.send({"text": "x" * 5000})
        self.assertTrue(producer.flush(5))
        self.assertEqual(len(self.endpoint.taken), 1)

    def test_failed_uploads_are_tried_again(self) -> None:
        quota = b'{"errorcode": "SpeedQuotaExceed", "errormessage": "x"}'
        self.endpoint.faults = [
            partial(respond, status=500, body=b"{}"),
            partial(respond, status=429, body=b""),
            partial(respond, status=403, body=quota),
            cut,
        ]
        producer = self.producer(max_send_worker_count=1)
        producer.send({"a": "b"})
        self.assertTrue(producer.flush(5))
        self.assertEqual((len(self.endpoint.taken), producer.sent, producer.failed), (1, 1, 0))

    def test_refused_uploads_are_not(self) -> None:
        self.endpoint.faults = [partial(respond, status=404, body=b'{"errorcode": "TopicNotExist"}')]
        producer = self.producer()
        producer.send({"a": "b"})
        self.assertTrue(producer.flush(5))
        self.assertEqual((len(self.endpoint.taken), producer.sent, producer.failed), (0, 0, 1))

    def test_the_buffer_is_bounded(self) -> None:
        """With a dead endpoint: what is dropped is counted, the caller never waits."""
        producer = self.producer(host="http://127.0.0.1:1", total_size_ln_bytes=10_000, retries=1000)
        taken = sum(producer.send({"text": "x" * 100}) for _ in range(1000))
        self.assertEqual(producer.dropped, 1000 - taken)
        self.assertEqual(taken, 10_000 // (400 + 50 + 104))

    def test_may_wait_for_room(self) -> None:
        producer = self.producer(total_size_ln_bytes=1200, max_block_sec=5, linger_ms=1)
        self.assertTrue(all(producer.send({"text": "x" * 100}) for _ in range(20)))
        self.assertTrue(producer.flush(5))
        self.assertEqual((len(self.endpoint.taken), producer.dropped), (20, 0))

    def test_temporary_credentials(self) -> None:
        """Those of SCF are read anew for each upload."""
        names = ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", "TENCENTCLOUD_SESSIONTOKEN")
        producer = AsyncProducer(CLSConfig(topic_id="topic", host=self.endpoint.url, linger_ms=1))
        for token in ("one", "two"):
            self.patch(os, "environ", dict(zip(names, ("temporary", "temporary key", token), strict=True)))
            producer.send({"a": "b"})
            self.assertTrue(producer.flush(5))
        self.assertEqual((self.endpoint.tokens, self.endpoint.wrong), ({"one", "two"}, []))

    def test_the_end_is_bounded(self) -> None:
        """Of a client that is refused, and of one that gets no response; what is left is counted and said."""
        frozen = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(frozen.close)
        for port, reason in ((1, "refused"), (frozen.getsockname()[1], "no upload has ended")):
            said: list[str] = []
            producer = AsyncProducer(self.config(host=f"http://127.0.0.1:{port}", linger_ms=0), said.append)
            for number in range(3):
                producer.send({"Msg": str(number)})
            began = time.monotonic()
            producer.close(0.3)
            self.assertFalse(producer.send({"Msg": "late"}))
            producer.flush()
            self.assertLess(time.monotonic() - began, 2)
            self.assertEqual((producer.sent, producer.failed, producer.dropped), (0, 3, 1))
            self.assertRegex(said[-2], f"^3 could not be sent before the end: .*{reason}")

    def test_a_flush_does_not_wait_for_a_long_pause(self) -> None:
        self.endpoint.faults = [partial(respond, status=503, body=b"")]
        producer = AsyncProducer(self.config(linger_ms=0, base_retry_backoff_ms=20_000))
        self.addCleanup(producer.close)
        producer.send({"Msg": "one"})
        while self.endpoint.faults:
            time.sleep(0.01)
        self.assertTrue(producer.flush(5))
        self.assertEqual(producer.sent, 1)

    def test_credentials_that_no_header_can_carry(self) -> None:
        for name in ("secret_id", "secret_token"):
            said: list[str] = []
            producer = AsyncProducer(self.config(**{name: "hidden\nhidden"}), said.append)
            producer.send({"Msg": "one"})
            producer.close(5)
            self.assertEqual(said, ["the credentials have characters that no header can carry"])

    def test_without_threads(self) -> None:
        """As at the end of an interpreter: what is logged there is sent by who waits for it."""

        usual = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if thread.name == "scf_log":
                raise RuntimeError("can't create new thread at interpreter shutdown")
            usual(thread)

        self.patch(threading.Thread, "start", start)
        producer = AsyncProducer(self.config())
        for number in range(3):
            producer.send({"Msg": str(number)})
        producer.close(5)
        self.assertEqual(producer.sent, 3)

    def test_closed(self) -> None:
        producer = self.producer()
        producer.send({"a": "b"})
        producer.close()
        self.assertFalse(producer.send({"a": "b"}))
        self.assertEqual((len(self.endpoint.taken), producer.dropped), (1, 1))


class ProcessTests(SendingTestCase):
    def run_script(self, script: str) -> None:
        # Python 3.12 and newer warn of each fork beside a thread, which these scripts are about.
        run = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            script.format(root=str(ROOT), url=self.endpoint.url),
        ]
        ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_a_script_that_just_ends(self) -> None:
        """The first two uploads fail, the third is cut in the middle: each entry arrives once."""
        self.endpoint.faults = [
            partial(respond, status=503, body=b""),
            partial(respond, status=503, body=b""),
            cut,
        ]
        self.run_script(SCRIPT)
        messages = [fields["Msg"] for _, fields in self.endpoint.taken]
        self.assertEqual(sorted(messages), sorted(f"entry {number}" for number in range(5000)))
        self.assertEqual(self.endpoint.wrong, [])

    def test_next_to_nothing_is_imported(self) -> None:
        """What an upload needs takes longer than 50 ms; a worker imports it."""
        script = "import sys, time; began = time.process_time(); import scf_log; " + (
            "print(time.process_time() - began, *sys.modules)"
        )
        run = [sys.executable, "-c", script]
        found = [subprocess.check_output(run, text=True, timeout=60, cwd=ROOT).split() for _ in range(3)]
        self.assertLess(min(float(cost) for cost, *_ in found), 0.05)
        modules = found[0][1:]
        heavy = ("scfd", "lz4", "google", "http", "yaml", "ssl", "twisted", "asyncio")
        self.assertEqual([name for name in modules if name.partition(".")[0] in heavy], [])

    def test_fork(self) -> None:
        """As gunicorn does: parent and child each send their own, once."""
        self.run_script(
            SCRIPT.replace("range(5000)", "range(10)")
            + """
import os
child = os.fork()
for number in range(10):
    logging.getLogger("script").info("%s %d", "parent" if child else "child", number)
if child:
    os.waitpid(child, 0)
"""
        )
        whose = ("entry", "parent", "child")
        expected = sorted(f"{who} {number}" for who in whose for number in range(10))
        self.assertEqual(sorted(fields["Msg"] for _, fields in self.endpoint.taken), expected)

    def test_children_of_multiprocessing(self) -> None:
        """They end without atexit."""
        self.run_script(
            SCRIPT.replace("range(5000)", "range(1)")
            + """
import multiprocessing
context = multiprocessing.get_context("fork")
def work(number):
    logging.getLogger("script").info("child %d", number)
children = [context.Process(target=work, args=(number,)) for number in range(2)]
for child in children:
    child.start()
for child in children:
    child.join()
"""
        )
        found = sorted(fields["Msg"] for _, fields in self.endpoint.taken)
        self.assertEqual(found, ["child 0", "child 1", "entry 0"])

    def test_a_dead_endpoint_at_the_end(self) -> None:
        """One limit for all producers and for `logging.shutdown`, and one line about each."""
        script = SCRIPT.replace("range(5000)", "range(3)").replace(
            "setup_cls_logging(c",
            "__import__('scf_log').AsyncProducer.flush_limit = 0.5\nsetup_cls_logging(c",
        )
        script += """
setup_cls_logging(config_dict=dict(topic_id="t", host="http://127.0.0.1:1", secret_id="i", secret_key="k"))
logging.getLogger("script").info("last")
raise KeyboardInterrupt
"""
        began = time.monotonic()
        # Python 3.12 and newer warn of each fork beside a thread, which these scripts are about.
        run = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            script.format(root=str(ROOT), url="http://127.0.0.1:1"),
        ]
        ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
        self.assertLess(time.monotonic() - began, 5)
        left = re.findall(r"(\d) failed: \d could not be sent before the end: Connection", ended.stderr)
        self.assertEqual(sorted(left), ["1", "4"], ended.stderr)
        # Python ends itself by the signal, which does nothing where whoever began the tests ignores it.
        self.assertIn(ended.returncode, (-signal.SIGINT, 1))


class ConfigTests(SynchronousTestCase):
    def test_everything_missing_is_named(self) -> None:
        self.patch(os, "environ", {})
        error = self.assertRaises(ValueError, setup_cls_logging, config_dict={"linger_ms": -1})
        self.assertEqual(
            str(error),
            "scf_log: CLS settings: topic_id is missing; host is missing; secret_id is missing; "
            "secret_key is missing; linger_ms is -1, expected 0 or more",
        )

    def test_no_settings(self) -> None:
        error = self.assertRaises(ValueError, setup_cls_logging)
        self.assertEqual(str(error), "scf_log: expected one of config_path, config_dict and config")

    def test_file(self) -> None:
        path = self.mktemp()
        self.patch(os, "environ", {"KEY": "k"})
        for text in (
            "plugin:\n  cls: {topic_id: t, secret_key: '${KEY}', max_send_workers: 3, unknown: 1}\n",
            "cls: {topic_id: t, secret_key: '${KEY}', max_send_worker_count: 3}\n",
            "topic_id: t\nsecret_key: ${NO:-k}\nmax_send_worker_count: 3\n",
        ):
            Path(path).write_text(text)
            config = CLSConfig.from_yaml(path)
            found = (config.topic_id, config.secret_key, config.max_send_worker_count)
            self.assertEqual(found, ("t", "k", 3))

    def test_wrong_files(self) -> None:
        path = self.mktemp()
        for text, expected in (
            ("- a", "expected a mapping, found list"),
            ("a: [", "while parsing"),
            ("topic_id: ${NO_SUCH}", "the environment variable NO_SUCH is not set"),
            ("retries: x", "retries: found 'x', expected a whole number"),
            ("field_map: 3", "field_map: found 3, expected a mapping"),
        ):
            Path(path).write_text(text)
            self.assertIn(expected, str(self.assertRaises(ValueError, CLSConfig.from_yaml, path)))
        self.assertIn("No such file", str(self.assertRaises(ValueError, CLSConfig.from_yaml, "no such")))

    def test_secrets_are_not_shown(self) -> None:
        config = CLSConfig(secret_id="hidden", secret_key="hidden", secret_token="hidden")
        self.assertNotIn("hidden", repr(config) + repr(Credentials("hidden", "hidden", "hidden")))
        path = Path(self.mktemp())
        for value in ("*hidden", "!hidden x", "!hidden!x y", "hidden: more"):
            path.write_text(f"cls:\n  secret_key: {value}\n")
            self.assertNotIn("hidden", str(self.assertRaises(ValueError, CLSConfig.from_yaml, str(path))))


class WireTests(SynchronousTestCase):
    def test_as_the_official_sdk(self) -> None:
        self.assertEqual(encode(ENTRIES, "1.2.3.4"), SDK_BYTES)

    def test_signature_as_the_official_sdk(self) -> None:
        headers = {"content-type": "application/x-protobuf", "host": "h.example"}
        signature = authorization(Credentials("AKID", "SECRET"), {"topic_id": "t/1"}, headers, 1_700_000_000)
        self.assertEqual(signature, SDK_SIGNATURE)
