"""Who this node is, and whom it talks to."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

#: Environment variables in which the platform gives the function's name; the first that is set wins.
NODE_ID_VARIABLES = ("SCF_FUNCTIONNAME", "TENCENTCLOUD_FUNCTIONNAME")
NODE_TYPE = "scf"


def _without_slash(url: str) -> str:
    return url.rstrip("/")


@frozen
class ServerAddress:
    """
    The control plane's address: host and port, a URL, or both; the URL wins.

    :ivar url: http or https, without a trailing slash.
    """

    ip: str = ""
    port: int = 0
    url: str = field(default="", converter=_without_slash)

    @property
    def base_url(self) -> str:
        """The URL that paths are appended to; empty when no address is known."""
        if self.url:
            return self.url
        if not self.ip or self.port <= 0:
            return ""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"http://{host}:{self.port}"


@define
class Identity:
    """
    Values that may change while a node runs.

    :ivar node_id: empty while the node has no id.
    :ivar version: the version of the business code, ``system.version``.
    :ivar server: the control plane, by the last probe or by config.
    :ivar storage_server_url: for plugins; from the last probe that had one, or the config; may be empty.
    :ivar storage_server_rpc: the same as ``ip://host:port``; by the last probe that had one.
    """

    node_id: str
    version: str
    server: ServerAddress = ServerAddress()
    storage_server_url: str = ""
    storage_server_rpc: str = ""

    def read_identity(self, environ: Mapping[str, str]) -> bool:
        """
        Take the node id from the platform's variables.

        :returns: whether one of them is set.
        """
        for name in NODE_ID_VARIABLES:
            if environ.get(name):
                self.node_id = environ[name]
                return True
        return False
