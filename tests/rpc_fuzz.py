"""
Sends /rpc what nobody should send: ``python -m tests.rpc_fuzz [INPUTS [SEED]]``.

Requests that are right, with bytes, parts and values changed at random. Each has to get status 200, and a
response as JSON-RPC has it, or none where there were only notifications.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from typing import Any

from scfd.events.event import TaskResult, TriggerResponse
from scfd.events.wire import from_json, to_json
from tests.operated import Operated

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**30, "", "t", "nightly", "\ud800", "x" * 300, [], {}, [1], {"a": 1},
)  # fmt: skip
KEYS = ("jsonrpc", "method", "params", "id", "name", "payload", "tasks", "limit", "sequence", "__class__", "")
_CODES = {-32700, -32600, -32601, -32602, -32001, -32002, None}


class Fuzzer:
    """:param seed: of everything that is drawn."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._node = Operated(
            lambda event: TriggerResponse([TaskResult("t", 2)]), ("nightly", "0 0 3 * * * *")
        )
        self._node.set_tasks([{"task_id": "t"}])
        listed = self._node.ask("rpc.discover")["methods"]
        self._methods = [method["name"] for method in listed if not method["name"].startswith("report.")]
        self.codes: Counter[Any] = Counter()

    def run(self, inputs: int) -> None:
        """:raises AssertionError: something got a response that it should not get."""
        for _ in range(inputs):
            body = self._body()
            received = self._node.post(body)
            assert received.status == 200, (received.status, body)
            for one in self._responses(received.body):
                code = one.get("error", {}).get("code")
                assert code in _CODES, (one, body)
                self.codes[code] += 1

    def _responses(self, body: bytes) -> list[dict[str, Any]]:
        value = from_json(body) if body else []
        responses: list[dict[str, Any]] = value if isinstance(value, list) else [value]
        for one in responses:
            assert one["jsonrpc"] == "2.0" and "id" in one and ("result" in one) != ("error" in one), one
        return responses

    def _body(self) -> bytes:
        draw = self._random
        asked: Any = self._request()
        if draw.random() < 0.2:
            asked = [self._request() for _ in range(draw.randrange(4))]
        data = to_json(asked)
        if draw.random() < 0.3:
            changed = bytearray(data)
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(len(changed) + 1)
                changed[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
            data = bytes(changed)
        return data

    def _request(self) -> Any:
        draw = self._random
        params: Any = {"name": "nightly"} if draw.random() < 0.5 else []
        for _ in range(draw.randrange(3)):
            if isinstance(params, dict):
                params[draw.choice(KEYS)] = draw.choice(VALUES)
            else:
                params.append(draw.choice(VALUES))
        request = {"jsonrpc": "2.0", "id": draw.choice(VALUES), "method": draw.choice(self._methods)}
        request["params"] = params
        while draw.random() < 0.3:
            request[draw.choice(KEYS)] = draw.choice(VALUES)
        if draw.random() < 0.1:
            del request[draw.choice(list(request))]
        return draw.choice(VALUES) if draw.random() < 0.05 else request


def main(inputs: int = 100_000, seed: int | None = None) -> None:
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed {seed}")
    fuzzer, began = Fuzzer(seed), time.monotonic()
    fuzzer.run(inputs)
    print(f"{inputs} inputs in {time.monotonic() - began:.0f} s, no response that should not be")
    for code, count in fuzzer.codes.most_common():
        print(f"{'result' if code is None else code}: {count}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
