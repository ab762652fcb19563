"""Tests for scfd.admin.rpc and scfd.admin.methods."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from scfd.admin.common import fire
from scfd.admin.methods import groups
from scfd.admin.rpc import Rpc
from scfd.errors import PluginError
from scfd.events.event import TaskResult, TriggerEvent, TriggerResponse
from scfd.events.wire import from_json, to_json
from scfd.status.readiness import Phase
from tests.nodes import queue
from tests.operated import Operated
from tests.properties import given
from tests.rpc_fuzz import Fuzzer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


class RpcTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = Operated(lambda event: TriggerResponse(), ("a", "* * * * * * *"))

    def error(self, body: bytes) -> tuple[int, Any]:
        """The code and the id of the error that something gets."""
        received = self.node.post(body)
        self.assertEqual((received.status, received.header("content-type")), (200, ["application/json"]))
        responded = received.json()
        self.assertEqual(set(responded), {"jsonrpc", "error", "id"})
        return responded["error"]["code"], responded["id"]

    def test_what_is_no_json(self) -> None:
        for body in (
            b"",
            b"{",
            b"\xff",
            b"NaN",
            b"{'a': 1}",
            b"[" * 100_000,
            b'{"jsonrpc": "2.0",}',
            b"1e999",
        ):
            self.assertEqual(self.error(body), (-32700, None), body[:20])

    def test_what_is_no_request(self) -> None:
        for body, id in (
            (b"1", None),
            (b"null", None),
            (b'"x"', None),
            (b"[]", None),
            (b"{}", None),
            (b'{"jsonrpc": "1.0", "method": "node.status", "id": 1}', 1),
            (b'{"jsonrpc": 2.0, "method": "node.status", "id": 1}', 1),
            (b'{"jsonrpc": "2.0", "id": "x"}', "x"),
            (b'{"jsonrpc": "2.0", "method": 1, "id": 2}', 2),
            (b'{"jsonrpc": "2.0", "method": null, "id": 2.5}', 2.5),
            (b'{"jsonrpc": "2.0", "method": "node.status", "id": [1]}', None),
            (b'{"jsonrpc": "2.0", "method": "node.status", "id": true}', None),
            (b'{"jsonrpc": "2.0", "method": "node.status", "params": "x", "id": 3}', 3),
            (b'{"jsonrpc": "2.0", "method": "node.status", "params": null, "id": 3}', 3),
            (b'{"jsonrpc": "2.0", "method": 1}', None),
        ):
            self.assertEqual(self.error(body), (-32600, id), body)

    def test_what_is_no_method(self) -> None:
        for name in (
            "",
            "x",
            "node",
            "node.",
            ".status",
            "node.nothing",
            "node._parts",
            "node.__init__",
            "node.__dir__",
            "trigger.jsonrpc_list",
            "trigger.list.x",
            "rpc._rpc",
            "__dir__",
            "node.status ",
            "Node.Status",
        ):
            self.assertEqual(self.node.ask(name)[0], -32601, name)

    def test_wrong_parameters(self) -> None:
        for method, params, expected in (
            ("node.status", {"x": 1}, "expected no parameters"),
            ("node.status", [1], "expected no parameters"),
            ("trigger.fire", {}, "expected parameters name, [payload], [tasks]"),
            ("trigger.fire", {"name": 1}, "name is integer, expected string"),
            ("trigger.fire", {"name": None}, "name is null, expected string"),
            ("trigger.fire", {"name": "a", "tasks": "t1"}, "tasks is string, expected array or null"),
            ("trigger.fire", {"name": "a", "tasks": [1]}, "expected a list of ids"),
            ("trigger.fire", {"name": "a", "self": 1}, "expected parameters name"),
            ("trigger.fire", ["a", None, None, 4], "expected parameters name"),
            ("event.list", {"limit": True}, "limit is boolean, expected integer"),
            ("event.list", {"limit": 1.5}, "limit is number, expected integer"),
            ("event.list", {"limit": 0}, "limit is 0"),
            ("event.list", {"failed": 1}, "failed is integer, expected boolean"),
        ):
            asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            error = self.node.post(to_json(asked)).json()["error"]
            self.assertEqual(error["code"], -32602, error)
            self.assertIn(expected, error["message"])

    def test_by_position(self) -> None:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "trigger.list", "params": ["b"]}
        self.assertEqual(self.node.post(to_json(asked)).json()["result"], [])

    def test_ids(self) -> None:
        for id in ("x", 0, -1, 2.5, None, 10**30, "\ud800"):
            asked = {"jsonrpc": "2.0", "method": "node.status", "id": id}
            responded = self.node.post(to_json(asked)).json()
            self.assertEqual(responded["id"], id)
            self.assertIn("result", responded)

    def test_notifications(self) -> None:
        for asked in (
            {"jsonrpc": "2.0", "method": "trigger.pause", "params": ["a"]},
            {"jsonrpc": "2.0", "method": "no.such"},
            {"jsonrpc": "2.0", "method": "trigger.pause", "params": [1]},
        ):
            received = self.node.post(to_json(asked))
            self.assertEqual((received.status, received.body), (200, b""))
        self.assertTrue(self.node.ask("trigger.list")[0]["paused"])

    def test_a_batch(self) -> None:
        status = {"jsonrpc": "2.0", "method": "node.status"}
        body = [{**status, "id": 1}, status, 1, {**status, "method": "x.y", "id": 2}, {**status, "id": 3}]
        responded = self.node.post(to_json(body)).json()
        self.assertEqual(
            [(one["id"], one.get("error", {}).get("code")) for one in responded],
            [(1, None), (None, -32600), (2, -32601), (3, None)],
        )
        self.assertEqual(self.node.post(to_json([status, status])).body, b"")
        self.assertEqual(self.error(to_json([status] * 101)), (-32600, None))

    def test_a_fault_inside_is_an_error_without_its_words(self) -> None:
        self.node.parts.reports.pending = lambda: 1 // 0  # type: ignore[method-assign]
        code, message = self.node.ask("node.status")
        self.assertEqual(code, -32603)
        self.assertNotIn("division", message)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_result_that_is_no_json(self) -> None:
        self.node.parts.reports.pending = lambda: float("nan")  # type: ignore
        self.assertEqual(self.node.ask("node.status")[0], -32603)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_only_json_from_those_who_have_the_token(self) -> None:
        node = Operated(token="s3cret")
        body = to_json({"jsonrpc": "2.0", "method": "node.status", "id": 1})
        for token, status in (("s3cret", 200), ("s3cre", 401), ("", 401), ("s3cret x", 401), ("\xfc", 401)):
            self.assertEqual(node.post(body, f"Authorization: Bearer {token}").status, status, token)
        self.assertEqual(node.post(body).status, 401)
        for kind in ("text/plain", "application/json-rpc", ""):
            self.assertEqual(
                self.node.request("POST", "/rpc", f"Content-Type: {kind}", body=body).status, 415
            )
        self.assertEqual(self.node.post(body, "Origin: http://evil.example").status, 403)

    def test_discovery(self) -> None:
        found = self.node.ask("rpc.discover")
        self.assertEqual(found["openrpc"], "1.3.2")
        methods = {method["name"]: method for method in found["methods"]}
        self.assertIn("rpc.discover", methods)
        fire = methods["trigger.fire"]
        self.assertEqual(
            fire["summary"], "Make an event now, as the trigger would, and wait for what becomes of it."
        )
        self.assertEqual(
            fire["params"],
            [
                {"name": "name", "required": True, "schema": {"type": "string"}},
                {"name": "payload", "required": False, "schema": {}},
                {
                    "name": "tasks",
                    "required": False,
                    "schema": {"anyOf": [{"type": "array"}, {"type": "null"}]},
                },
            ],
        )
        for name, method in methods.items():
            self.assertTrue(method["summary"], name)

    def test_what_nobody_should_send(self) -> None:
        Fuzzer(1).run(500)

    @given(JSON)
    def test_whatever_json_gets_a_response(self, value: Any) -> None:
        self.assertEqual(self.node.post(to_json(value)).status, 200)

    @given(st.sampled_from(["event.list", "event.get", "trigger.list", "trigger.fire", "task.list"]), JSON)
    def test_whatever_parameters_get_a_response(self, method: str, params: Any) -> None:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        responded = self.node.post(to_json(asked)).json()
        self.assertIn(responded.get("error", {}).get("code"), (None, -32600, -32602, -32001), responded)

    @given(st.binary(max_size=60))
    def test_whatever_bytes_get_a_response(self, body: bytes) -> None:
        self.assertEqual(self.node.post(body).status, 200)


class TriggerMethodsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.response: Any = TriggerResponse()
        self.node = Operated(self.plugin, ("every", "* * * * * * *"), ("hourly", "0 0 * * * * *"))

    def plugin(self, event: TriggerEvent) -> Any:
        if isinstance(self.response, Exception):
            raise self.response
        return self.response

    def fired(self) -> list[str]:
        return [event.name for event in self.node.events]

    def test_list(self) -> None:
        self.node.tick(2)
        every, hourly = self.node.ask("trigger.list")
        self.assertEqual(
            (every["name"], every["type"], every["cron"], every["next"], every["paused"]),
            ("every", "timer", "* * * * * * *", "2027-01-15T08:00:03Z", False),
        )
        self.assertEqual(every["events"], {"succeeded": 2, "failed": 0, "not sent": 0})
        self.assertEqual((every["outcomes"], every["last"]["outcome"]), (["succeeded"] * 2, "succeeded"))
        self.assertEqual((hourly["next"], hourly["last"]), ("2027-01-15T09:00:00Z", None))
        self.assertEqual([one["name"] for one in self.node.ask("trigger.list", match="our")], ["hourly"])
        self.assertEqual(len(self.node.ask("trigger.list", limit=1)), 1)
        self.assertNotIn(b"hourly", self.node.request("GET", "/metrics").body)  # looking at it counts nothing

    def test_fire(self) -> None:
        self.node.set_tasks([{"task_id": "t1"}])
        self.response = TriggerResponse([TaskResult("t1", 4, "no price")])
        fired = self.node.ask("trigger.fire", name="hourly")
        self.assertEqual((fired["outcome"], fired["statuses"]), ("tasks failed", {"4": 1}))
        self.assertEqual(fired["task_results"], [{"task_id": "t1", "status": 4, "result": "no price"}])
        self.assertEqual(fired["metadata"]["fired_by"], "operator")
        self.assertEqual([result.task_id for result in self.node.results], ["t1"])
        (event,) = self.node.events
        self.assertEqual(event.payload["tasks"], event.snapshot.tasks)

    def test_fire_with_some_tasks_and_all_their_intervals(self) -> None:
        params = '{"intervals": ["1m", "1h"]}'
        self.node.set_tasks([{"task_id": f"t{n}", "task_params": params} for n in range(3)])
        self.node.ask("trigger.fire", name="hourly", tasks=["t1"])
        (event,) = self.node.events
        jobs = [(job["task"]["task_id"], job["interval"]) for job in event.payload["jobs"]]
        self.assertEqual(jobs, [("t1", "1m"), ("t1", "1h")])
        self.assertEqual([task["task_id"] for task in event.tasks], ["t1"])
        self.assertEqual(self.node.ask("trigger.fire", name="hourly", tasks=["t9"])[0], -32602)

    def test_fire_with_a_payload(self) -> None:
        self.node.ask("trigger.fire", name="hourly", payload={"mine": 1})
        self.assertEqual(self.node.events[0].payload, {"mine": 1})
        self.assertEqual(from_json(self.node.events[0].to_json())["payload"], {"mine": 1})

    def test_fire_of_a_failing_plugin(self) -> None:
        self.response = PluginError("HTTP status 500: oh")
        fired = self.node.ask("trigger.fire", name="hourly")
        self.assertEqual((fired["outcome"], fired["error"]), ("failed", "PluginError: HTTP status 500: oh"))

    def test_fire_waits_for_the_plugin(self) -> None:
        self.response = Deferred()
        asked = {"jsonrpc": "2.0", "id": 1, "method": "trigger.fire", "params": ["hourly"]}
        caller = self.node.caller()
        caller.ask("POST", "/rpc", "Content-Type: application/json", body=to_json(asked))
        (running,) = self.node.ask("event.list")
        self.assertEqual((running["outcome"], running["trigger"]), ("running", "hourly"))
        self.response.callback(TriggerResponse())
        self.assertEqual(caller.answer("POST").json()["result"]["outcome"], "succeeded")

    def test_a_caller_who_leaves_does_not_end_what_it_has_fired(self) -> None:
        self.response = Deferred()
        asked = {"jsonrpc": "2.0", "id": 1, "method": "trigger.fire", "params": ["hourly"]}
        caller = self.node.caller()
        caller.ask("POST", "/rpc", "Content-Type: application/json", body=to_json(asked))
        caller.leave()
        self.response.callback(TriggerResponse())
        self.assertEqual(self.node.ask("event.list")[0]["outcome"], "succeeded")

    def test_fire_while_the_node_stops(self) -> None:
        self.node.parts.context.readiness.enter(Phase.STOPPING)
        code, message = self.node.ask("trigger.fire", "hourly")
        self.assertEqual((code, "stopping" in message), (-32002, True))

    def test_the_node_stops_when_what_was_fired_has_ended(self) -> None:
        response = self.response = Deferred()
        self.node.call(lambda: fire(self.node.parts, "hourly", None, None, {}) and None)
        self.node.call(
            lambda: self.node.parts.context.reactor.callLater(3, response.callback, TriggerResponse())
        )
        self.node.close()
        (event,) = self.node.parts.context.history.last()
        self.assertEqual((event.outcome, event.seconds), ("succeeded", 3))

    def test_fire_while_the_plugin_is_away(self) -> None:
        self.node.parts.context.availability.set(False)
        self.assertEqual(self.node.ask("trigger.fire", name="hourly")[0], -32002)
        self.assertEqual(self.fired(), [])

    def test_unknown_triggers(self) -> None:
        for method in ("trigger.fire", "trigger.pause", "trigger.resume"):
            code, message = self.node.ask(method, name="nope")
            self.assertEqual((code, "expected one of every, hourly" in message), (-32001, True))

    def test_what_is_so_already_is_not_said(self) -> None:
        with capturedLogs() as events:
            self.assertFalse(self.node.ask("trigger.resume", name="every")["paused"])
            for _ in range(2):
                self.assertTrue(self.node.ask("trigger.pause", name="every")["paused"])
        said = [formatEvent(event) for event in events if "operator" in formatEvent(event)]
        self.assertEqual(said, ["every: paused by an operator"])

    def test_pause_and_resume(self) -> None:
        self.assertTrue(self.node.ask("trigger.pause", name="every")["paused"])
        self.node.tick(3)
        self.assertEqual(self.fired(), [])
        skipped = self.node.parts.context.metrics.registry.get_sample_value(
            "scfd_timer_skipped_total", {"trigger": "every", "reason": "paused"}
        )
        self.assertEqual(skipped, 3)
        warned = [one.component for one in self.node.parts.context.readiness.all()]
        self.assertIn("pause of every", warned)
        self.node.ask("trigger.fire", name="every")
        self.assertFalse(self.node.ask("trigger.resume", name="every")["paused"])
        self.node.tick(2)
        self.assertEqual(len(self.fired()), 3)
        self.assertNotIn("pause of every", [one.component for one in self.node.parts.context.readiness.all()])


class EventMethodsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.response: Any = TriggerResponse()
        self.node = Operated(lambda event: self.response, ("t", "* * * * * * *"))

    def test_list_and_get(self) -> None:
        self.node.tick(3)
        newest, *_ = found = self.node.ask("event.list")
        self.assertEqual(len(found), 3)
        got = self.node.ask("event.get", id=newest["id"])
        self.assertEqual(got["metadata"]["traceparent"][36:52], newest["id"])
        self.assertEqual([one["id"] for one in self.node.ask("event.list", after=2)], [newest["id"]])
        self.assertEqual(self.node.ask("event.list", failed=True), [])
        self.assertEqual(len(self.node.ask("event.list", limit=2)), 2)
        self.assertEqual(self.node.ask("event.list", trigger="nope")[0], -32001)
        self.assertEqual(self.node.ask("event.get", id="nope")[0], -32001)

    def test_cancel(self) -> None:
        self.response = Deferred()
        self.node.tick()
        (running,) = self.node.ask("event.list")
        self.assertEqual(self.node.ask("event.get", id=running["id"])["outcome"], "running")
        self.assertEqual(self.node.ask("event.cancel", id=running["id"]), "cancelled")
        self.assertEqual(self.node.ask("event.get", id=running["id"])["outcome"], "cancelled")
        self.assertEqual(self.node.ask("event.cancel", id=running["id"])[0], -32002)

    def test_replay_a_timer_with_the_tasks_that_failed(self) -> None:
        self.node.set_tasks([{"task_id": "t1"}, {"task_id": "t2"}])
        self.response = TriggerResponse([TaskResult("t1", 4, "no"), TaskResult("t2", 2)])
        self.node.tick()
        (past,) = self.node.ask("event.list")
        replayed = self.node.ask("event.replay", id=past["id"])
        self.assertEqual(replayed["metadata"]["replay_of"], past["id"])
        again = self.node.events[-1]
        self.assertEqual([task["task_id"] for task in again.tasks], ["t1"])

    def test_replay_of_one_under_way(self) -> None:
        self.response = Deferred()
        self.node.tick()
        (running,) = self.node.ask("event.list")
        self.assertEqual(self.node.ask("event.replay", id=running["id"])[0], -32002)


class MessageTests(SynchronousTestCase):
    def test_a_message_is_replayed_as_it_was(self) -> None:
        seen: list[tuple[Any, dict[str, str]]] = []

        def act(event: TriggerEvent) -> TriggerResponse:
            seen.append((event.payload, dict(event.metadata)))
            if len(seen) == 1:
                raise PluginError("not now")
            return TriggerResponse()

        for data in (b"null", b"", b"[1]", b"\xff\0", "text é".encode()):
            seen.clear()
            node = Operated(act, queue("q", max_deliver=1))
            self.addCleanup(node.close)
            node.publish("orders.new", data, {"X-Source": "a"})
            (failed,) = node.ask("event.list", failed=True)
            self.assertEqual(node.ask("event.replay", id=failed["id"])["outcome"], "succeeded")
            (payload, before), (again, metadata) = seen
            self.assertEqual((payload, metadata["replay_of"]), (again, failed["id"]))
            for name in set(before) - {"traceparent"}:
                self.assertEqual(before[name], metadata[name], name)

    def test_a_message_by_hand(self) -> None:
        node = Operated(lambda event: TriggerResponse(), queue("q"))
        self.addCleanup(node.close)
        self.assertEqual(node.ask("trigger.fire", "q")[0], -32602)
        self.assertEqual(node.ask("trigger.fire", "q", {"a": 1})["payload"], {"a": 1})


class OtherMethodsTests(SynchronousTestCase):
    def test_status(self) -> None:
        node = Operated(lambda event: TriggerResponse(), ("t", "* * * * * * *"))
        node.tick(2)
        status = node.ask("node.status")
        self.assertEqual(
            (status["name"], status["version"], status["node_id"], status["uptime"], status["triggers"]),
            ("fn", "v1", "node-abc", 2.0, 1),
        )
        self.assertEqual(status["events"], {"running": 0, "succeeded": 2, "failed": 0})

    def test_drain(self) -> None:
        node = Operated()
        self.assertEqual(node.ask("node.drain"), "draining")
        self.assertEqual(node.ended, ["node.drain"])

    def test_tasks(self) -> None:
        node = Operated(
            lambda event: TriggerResponse([TaskResult("t1", 4, "x" * 1000)]), ("t", "* * * * * * *")
        )
        node.set_tasks([{"task_id": "t1"}, {"task_id": "t2", "invalid": 1}])
        node.tick()
        first, second = node.ask("task.list")
        self.assertEqual((first["task_id"], first["status"], first["result"]), ("t1", 4, "x" * 200))
        self.assertEqual(first["at"], "2027-01-15T08:00:01Z")
        self.assertEqual((second["valid"], second["status"], second["at"]), (False, None, None))
        self.assertEqual([one["task_id"] for one in node.ask("task.list", failed=True)], ["t1"])
        node.set_tasks([{"task_id": "t2"}])
        node.tick()
        self.assertIsNone(node.parts.dispatcher.last_result("t1"))

    def test_reports_while_the_disk_fails(self) -> None:
        """What it is asked for would wait, and the caller as well."""
        node = Operated()
        node.parts.context.disk.set(False)
        for method, params in (("list", {}), ("retry", {"seqs": [1]}), ("discard", {"seqs": [1]})):
            code, message = node.ask(f"report.{method}", **params)
            self.assertEqual((code, "disk" in message), (-32002, True))

    def test_a_native_plugin_is_not_restarted(self) -> None:
        self.assertEqual(Operated().ask("plugin.restart")[0], -32002)

    def test_the_config_without_its_secrets(self) -> None:
        shown = Operated(token="s3cret").post(
            to_json({"jsonrpc": "2.0", "id": 1, "method": "config.show"}), "Authorization: Bearer s3cret"
        )
        self.assertEqual(shown.json()["result"]["admin"]["token"], "***")
        self.assertEqual(shown.json()["result"]["system"]["name"], "fn")
        self.assertNotIn(b"s3cret", shown.body)


class LongListTests(SynchronousTestCase):
    def test_is_made_and_encoded_in_parts(self) -> None:
        names = [f"t{number:04}" for number in range(1200)]
        node = Operated(lambda event: TriggerResponse(), *((name, "0 0 3 * * * *") for name in names))
        turns: list[float] = []

        class Reactor:
            def callLater(self, seconds: float, call: Any, *args: Any) -> Any:
                turns.append(seconds)
                return node.parts.context.reactor.callLater(seconds, call, *args)

        parts = evolve(node.parts, context=evolve(node.parts.context, reactor=Reactor()))
        rpc = Rpc(groups(parts), Reactor())

        def asked(method: str, **params: Any) -> Any:
            turns.clear()
            responded = rpc.respond(
                to_json({"jsonrpc": "2.0", "id": "x", "method": method, "params": params})
            )
            self.assertNoResult(responded)
            node.advance()
            read = from_json(self.successResultOf(responded).body)
            self.assertEqual((read["id"], turns), ("x", [0] * 11))
            return read["result"]

        self.assertEqual([one["name"] for one in asked("trigger.list", limit=10_000)], names)
        shown = asked("config.show")
        self.assertEqual([one["name"] for one in shown["triggers"]], names)
        self.assertEqual(shown["system"]["version"], "v1")
