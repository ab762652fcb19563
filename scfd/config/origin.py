"""Where the values of a config come from: lines of its file, and variables of the environment."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, frozen

from scfd.config.findings import has_credentials, is_secret
from scfd.config.tree import Scalar, Table, walk

#: What a plugin's process gets or reads itself: nothing that is taken there is the node's alone.
_OF_THE_PLUGIN = ("plugin.", "adapter.http.env.", "adapter.http.command")


@frozen
class Origin:
    """
    :ivar lines: of every key, by its path, such as ``triggers[0].settings.cron``.
    :ivar secret_variables: environment variables from which the node takes a secret.
    :ivar secrets: keys whose secret is written in the file itself.
    """

    lines: Mapping[str, int] = Factory(dict)
    secret_variables: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = ()

    def line_of(self, key: str) -> int:
        """The line of a key, or of the innermost section around it that the file has; 0 for none."""
        while key not in self.lines and key:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.lines.get(key, 0)


def origin_of(table: Table) -> Origin:
    """:param table: the whole file."""
    lines: dict[str, int] = {}
    variables: set[str] = set()
    secrets = []
    for key, line, node in walk(table):
        if key:
            lines[key] = line
        if isinstance(node, Scalar) and node.text and (is_secret(key) or has_credentials(node.text)):
            if not node.variables:
                secrets.append(key)
            elif not key.startswith(_OF_THE_PLUGIN):
                variables.update(node.variables)
    return Origin(lines, frozenset(variables), tuple(secrets))
