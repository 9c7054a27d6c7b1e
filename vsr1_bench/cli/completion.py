"""`vsr1-bench completion`: a script that completes commands and flags in a shell."""

from __future__ import annotations

import argparse

from vsr1_bench._util.installing import install_command
from vsr1_bench.errors import EXIT_DONE, UsageError

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read the script")


def execute(options: argparse.Namespace) -> int:
    """Print the script, which shtab writes from the parsers of all commands."""
    from vsr1_bench.cli.main import COMMANDS, declare

    try:
        import shtab
    except ImportError as error:
        raise UsageError(f"completion needs shtab: {install_command('completion')}") from error
    parser = argparse.ArgumentParser(prog="vsr1-bench")
    commands = parser.add_subparsers()
    for name, what in COMMANDS.items():
        declare(commands.add_parser(name, help=what, description=what), name)
    print(shtab.complete(parser, shell=options.shell))
    return EXIT_DONE
