"""The console script ``scfd``: commands for people. The daemon itself is ``twistd scfd``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from scfd import __version__, config
from scfd.cli import completion, migrate, operate, package
from scfd.cli.check import explain
from scfd.cli.look import look
from scfd.cli.new import make_project
from scfd.cli.remote import CONFIGS, EXIT_NOT_REACHED, NotReachedError, RefusedError, config_file
from scfd.cli.schema import as_text
from scfd.errors import ConfigError, StartupError
from scfd.start import run
from scfd.triggers.timer.zone import process_zone

EXIT_MISTAKE = 1
#: As a shell has it for Ctrl-C. What goes on until then, ``--follow`` and ``top``, ends with 0.
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    :param argv: the arguments after the program's name; by default those of the process.
    :returns: the exit status: 0; 1 for a mistake of the user, which is on stderr, or a refusal of the node;
        3 where a node can't be reached. Wrong arguments end in argparse's own ``SystemExit``, status 2.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names in a config may hold what the terminal's encoding does not have.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = command_parser().parse_args(argv)
        _check_working_directory()
        status: int = options.run(options)
        print(end="", flush=True)
    except (StartupError, RefusedError) as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    except NotReachedError as error:
        print(error, file=sys.stderr)
        return EXIT_NOT_REACHED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read has read enough. The interpreter flushes once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return status


def _check_working_directory() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise StartupError("scfd: the working directory is gone; expected to be in one that exists") from None


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scfd", description="Commands around a scfd node.")
    parser.add_argument("--version", action="version", version=f"scfd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_new(commands)
    _add_run(commands)
    _add_check(commands)
    text = "Print a JSON Schema of the config, for editors that complete and check YAML files."
    schema = commands.add_parser("schema", help="print a JSON Schema of the config", description=text)
    schema.add_argument(
        "--config",
        metavar="FILE",
        help="a config whose native plugin has a settings class, which then describes the section plugin",
    )
    schema.set_defaults(run=_schema)
    package.add_command(commands)
    migrate.add_command(commands)
    operate.add_commands(commands)
    _add_completion(commands)
    return parser


def _add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Print what a shell reads to complete commands, options and triggers: its first line says where."
    shell = commands.add_parser("completion", help="have a shell complete these commands", description=text)
    shell.add_argument("shell", choices=completion.SCRIPTS, help="the shell")
    shell.set_defaults(run=_completion)
    complete = commands.add_parser("complete", description="What may stand in place of the last word.")
    complete.add_argument("words", nargs="*")
    complete.set_defaults(run=_complete)


def _completion(options: argparse.Namespace) -> int:
    print(completion.SCRIPTS[options.shell], end="")
    return 0


def _complete(options: argparse.Namespace) -> int:
    for line in completion.candidates(command_parser(), options.words):
        print(line)
    return 0


def _add_new(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Make a project that runs and passes its own test at once: plugin, config, tasks, test, README."
    new = commands.add_parser("new", help="make a project to begin with", description=text)
    new.add_argument("name", metavar="NAME", help="of the function and its folder, such as my-function")
    kinds = new.add_mutually_exclusive_group()
    for kind, help in (
        ("native", "a Python object in the node, called for each task; the default"),
        ("http", "a program of its own, called over HTTP for each task"),
        ("message", "a Python object in the node, called for each message of a NATS stream"),
    ):
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=help)
    new.set_defaults(run=_new, kind="native")


def _new(options: argparse.Namespace) -> int:
    print(make_project(options.name, options.kind, Path()))
    return 0


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Run a node in the foreground, its log on standard output, until ctrl-C."
    command = commands.add_parser("run", help="run a node in the foreground", description=text)
    command.add_argument(
        "config", metavar="CONFIG", nargs="?", help=f"the config; by default {' or '.join(CONFIGS)}"
    )
    command.add_argument(
        "--reload",
        action="store_true",
        help="start the plugin again when its files change; what dev: asks for stays up",
    )
    command.add_argument("--no-dev", action="store_true", help=argparse.SUPPRESS)
    _add_trpc_config(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return run(config_file(options.config), options.trpc_config, options.reload, options.no_dev)


def _add_trpc_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trpc-config",
        metavar="FILE",
        help="a Go deployment's trpc_go.yaml: gateway address, heartbeat period, where CONFIG does not say",
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Check a config, look for what it needs (plugin, program, files, folders, ports), and say what it "
        "means. Nothing is started or written. Exit status: 1 for mistakes, 0 with warnings."
    )
    check = commands.add_parser("check", help="check a config and say what it means", description=text)
    check.add_argument("file", metavar="FILE", help="the config, such as etc/config.yaml")
    _add_trpc_config(check)
    check.add_argument("--strict", action="store_true", help="exit status 1 for warnings, too")
    check.set_defaults(run=_check)


def _schema(options: argparse.Namespace) -> int:
    print(as_text(options.config and _settings_of(options.config)), end="")
    return 0


def _settings_of(path: str) -> type | None:
    """
    The settings class of the plugin that a config names. Only what says which one that is has to be right.

    :raises StartupError: that is wrong, or there is no such plugin.
    """
    from scfd.adapter.registry import settings_class

    found: list[type | None] = []

    def note(adapter: config.AdapterSettings, system: config.SystemSettings) -> None:
        found.append(settings_class(adapter, system, cached=False))

    try:
        config.load(path, os.environ, None, note)
    except ConfigError:
        if not found:
            raise
    if found[0] is None:
        print(f"{path}: its plugin has no settings class; any section plugin is accepted", file=sys.stderr)
    return found[0]


def _settings_class(adapter: config.AdapterSettings, system: config.SystemSettings) -> type | None:
    from scfd.adapter.registry import settings_class

    try:
        return settings_class(adapter, system, cached=False)
    except StartupError:
        return None  # `look` says what is wrong with the plugin


def _check(options: argparse.Namespace) -> int:
    cfg = config.load(options.file, os.environ, options.trpc_config, _settings_class)
    found = look(cfg, os.environ)
    # The zone in which the node reads cron expressions.
    for line in explain(cfg, os.environ, datetime.now(process_zone(os.environ)), found):
        print(line)
    print(end="", flush=True)
    if found.mistakes:
        raise ConfigError(found.mistakes)
    return EXIT_MISTAKE if options.strict and (cfg.warnings or found.warnings) else 0
