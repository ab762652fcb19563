"""``scfd package``: a zip for SCF."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from scfd.cli.remote import CONFIGS, config_file


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Make a zip for SCF's web functions: scf_bootstrap, scfd and what it needs as wheels for SCF's "
        "Python, the config, the plugin. What SCF would refuse is refused here, and the package is booted "
        "once, without a network."
    )
    command = commands.add_parser("package", help="make a zip for SCF", description=text)
    command.add_argument(
        "--config", metavar="FILE", help=f"the config, without dev:; by default {' or '.join(CONFIGS)}"
    )
    command.add_argument(
        "--include",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="files and folders of the plugin, besides those that the config names",
    )
    command.add_argument("--requirements", metavar="FILE", help="what the plugin needs, as for pip")
    command.add_argument(
        "--output", metavar="ZIP", required=True, help="the package to write, such as fn.zip"
    )
    command.add_argument(
        "--python", metavar="X.Y", default="3.10", help="SCF's Python; by default %(default)s"
    )
    command.add_argument(
        "--interpreter",
        metavar="PATH",
        help="its path there; by default /var/lang/python310/bin/python3.10, or the same for --python",
    )
    command.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="boot the package, if this machine has SCF's Python; the default",
    )
    command.set_defaults(run=_package)


def _package(options: argparse.Namespace) -> int:
    from scfd.package.make import Order, make
    from scfd.package.target import target

    requirements = options.requirements
    order = Order(
        Path(config_file(options.config)),
        Path(options.output),
        target(options.python, options.interpreter),
        tuple(map(Path, options.include)),
        Path(requirements) if requirements is not None else None,
        options.verify,
    )
    make(order, os.environ, lambda line: print(line, flush=True))
    return 0
