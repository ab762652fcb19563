"""Finds a running node, and asks it over JSON-RPC."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

from scfd import config
from scfd.errors import StartupError

#: Exit status when the node is not ready, an event failed, or the node refuses.
EXIT_FAILED = 1
#: Exit status of commands that could not reach the node.
EXIT_NOT_REACHED = 3
#: Where the config is looked for when nothing is said.
CONFIGS = ("etc/config.yaml", "config.yaml")
#: Seconds for a response, where the command does not wait for the plugin.
TIMEOUT = 10.0


def config_file(named: str | None) -> str:
    """
    The config of a node to be started, or put into a package.

    :raises StartupError: when none is named and there is none.
    """
    path = named or next((name for name in CONFIGS if os.path.exists(name)), None)
    if path is None:
        raise StartupError(
            f"scfd: no config here: expected {' or '.join(CONFIGS)} in {os.getcwd()}, or its path: "
            "scfd run CONFIG; scfd new NAME makes a project that has one"
        )
    return path


class NotReachedError(Exception):
    """There is no node at the address; the text is a line for the user."""


class RefusedError(Exception):
    """The node can't do what it was asked for; the text is a line for the user."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a command finds its node."""
    where = parser.add_argument_group("the node")
    where.add_argument(
        "--config",
        metavar="FILE",
        help=f"the node's config, which has admin.listen and admin.token; by default {' or '.join(CONFIGS)}",
    )
    where.add_argument(
        "--url",
        help="instead of a config: the address of the node's admin endpoint, such as http://127.0.0.1:9002",
    )
    where.add_argument(
        "--token",
        default=os.environ.get("SCFD_TOKEN", ""),
        help="with --url: the node's admin.token; by default the environment variable SCFD_TOKEN",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


@frozen
class Node:
    """
    A running node.

    :ivar url: of its admin endpoint.
    """

    url: str
    token: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace) -> Node:
        """
        The node that a command line means.

        :raises StartupError: no config says which.
        """
        if options.url:
            if not options.url.startswith(("http://", "https://")):
                raise StartupError(f"--url: found {options.url!r}; expected such as http://127.0.0.1:9002")
            return cls(options.url.rstrip("/"), _token(options))
        path = options.config or next((name for name in CONFIGS if Path(name).exists()), None)
        if path is None:
            raise StartupError(f"no {' or '.join(CONFIGS)} here; name the node's --config FILE, or its --url")
        cfg = config.load(path, os.environ)
        if cfg.admin is None:
            raise StartupError(f"{path}: admin.listen is turned off: the node can't be asked")
        return cls(cfg.admin.listen.url, _token(options) or cfg.admin.token)

    def call(self, method: str, timeout: float | None = TIMEOUT, **params: Any) -> Any:
        """
        Call a method.

        :param timeout: seconds; None waits for ever.
        :raises RefusedError: the node responds with an error.
        :raises NotReachedError: it does not respond as a node does.
        """
        given = {name: value for name, value in params.items() if value is not None}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": given}).encode()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}".encode().decode("latin-1")  # UTF-8 on the wire
        # Not by way of a proxy: most nodes are on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            request = urllib.request.Request(f"{self.url}/rpc", body, headers)
            with opener.open(request, timeout=timeout) as response:
                read = json.load(response)
        except urllib.error.HTTPError as error:
            raise NotReachedError(self._refusal(error)) from None
        except TimeoutError:
            raise NotReachedError(f"{self.url}: no response in {timeout:g} s") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            raise NotReachedError(f"no node at {self.url}: {why}; is it running?") from None
        if not isinstance(read, dict) or not ("result" in read or "error" in read):
            raise NotReachedError(f"{self.url} is not the admin endpoint of a node")
        if "error" in read:
            raise RefusedError(str(read["error"].get("message", "no reason given")))
        return read["result"]

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code == 401 and self.token:
            return f"{self.url}: the token is not its admin.token"
        if error.code == 401:
            return f"{self.url} asks for its admin.token: set SCFD_TOKEN or --token"
        if error.code == 413:
            return f"{self.url}: the request is too long; expected less than 1 MiB"
        if error.code == 403:
            return f"{self.url}: expected an address, localhost or one of its admin.hosts as the host"
        return f"{self.url} is not the admin endpoint of a node: HTTP status {error.code}"


def _token(options: argparse.Namespace) -> str:
    """:raises StartupError: no header can have it; it is not shown, since others may see the terminal."""
    token: str = options.token
    if not token.isprintable():
        raise StartupError("--token, or SCFD_TOKEN: a line break or another character that no token has")
    return token


def show(options: argparse.Namespace, value: Any, lines: Iterator[str] | list[str]) -> None:
    """Print for a program or for a person."""
    if options.json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        for line in lines:
            print(line)
