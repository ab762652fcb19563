"""
What to write where a config has no adapter.

Such a config is usually one of the Go framework, where the program itself says where its plugin is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from scfd.cli.start_script import start_script_of
from scfd.config import Config

#: The end of a mistake's line, where the config has no adapter.
NEEDS_ADAPTER = "expected its name in adapter.native, or adapter.http for one that is another program"


def adapter_advice(config: Config) -> Iterator[str]:
    """:returns: lines, with sections to paste."""
    http: dict[str, object] = {"name": config.system.name or "my-plugin", "url": "http://127.0.0.1:9001"}
    script = start_script_of(Path(config.path).absolute().parent)
    if script is not None:
        http.update(script.settings())
    yield "A plugin that is another program, as the Go framework has with HTTPPluginAdapter, needs this"
    yield "section; name and url are those of NewHTTPPluginAdapter there:"
    yield ""
    yield "adapter:"
    yield "  http:"
    for key, value in http.items():
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
        yield f"    {key}: {text.partition(chr(10))[0]}"
    if "command" not in http:
        yield "    # command: [python3, -u, plugin/my_plugin.py]  # for a plugin that the node is to start"
    if config.gateway is None:
        yield ""
        yield "and this one for callers and probes, unless --trpc-config names a trpc_go.yaml that has it:"
        yield ""
        yield "gateway:"
        yield "  listen: 0.0.0.0:9000"
