"""Entry point: find the command, run it, and turn errors into one line and an exit code.

Nothing heavy is imported here or at the top of a command's module, so that `--help` and `ls` answer
at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from vsr1_bench._util.terminal import plain_streams
from vsr1_bench._util.version import __version__
from vsr1_bench.cli.streams import keep_printing, quiet_libraries
from vsr1_bench.cli.terminating import ended_by_sigterm
from vsr1_bench.errors import (
    EXIT_FAILED,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    BenchError,
    UsageError,
    nearest,
)

COMMANDS = {
    "run": "generate, judge, score and print the table (implied when no command is named)",
    "ls": "list tasks, suites, groups, judges, prompts, recipes, runs or backend arguments",
    "validate": "check that a task accepts its gold answer and rejects an empty one",
    "audit": "check a benchmark's rows: priors, duplicates, contradictions, impossible golds",
    "judge": "judge stored responses again, without generating",
    "perceive": "let another model answer from stored descriptions, without the image",
    "score": "compute scores from stored verdicts",
    "agreement": "compare judges: Cohen's kappa, table of verdicts, disagreements",
    "calibrate": "correct accuracy, LSR and self-containment by a few human labels",
    "table": "print a table of stored scores, or explain how two runs differ",
    "compare": "compare runs on the same samples: difference, interval, exact test, flips",
    "plot": "plot stored scores: intervals, shortcuts against accuracy, categories",
    "view": "write a report of every sample that opens from disk in a browser",
    "export": "write stored runs for other tools: inspect logs, parquet, the hub's result files",
    "rerun": "repeat the command of a stored run, or print what would differ today",
    "grade": "judge a file of responses that were made elsewhere",
    "import": "store responses that were made elsewhere as a run",
    "publish": "pack stored runs and upload them to the hub or a folder",
    "download": "fetch published runs, the paper's raw outputs, or data for offline work",
    "serve": "start vLLM's server with matching settings, and print the flags for `run`",
    "train": "train a model (cold start, or self-reward GRPO) and export it",
    "loop": "evaluate, train, evaluate again on the same samples, and compare",
    "doctor": "list what works on this machine and how to fix the rest",
    "completion": "print a script that completes commands and flags in a shell",
}

# Libraries that log a line for every call.
QUIET = dict.fromkeys(
    ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "urllib3", "datasets", "fsspec"),
    logging.WARNING,
)
# They warn of each missing part of a GPU.
QUIET |= {"filelock": logging.WARNING, "vllm": logging.ERROR}
QUIET |= {"torch.utils.cpp_extension": logging.ERROR}
MODULES = {"import": "import_"}


class _Parser(argparse.ArgumentParser):
    """argparse, with one-line errors and both spellings of every flag."""

    def error(self, message: str) -> None:  # type: ignore[override]
        wrong = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
        if wrong:
            flags = tuple(f for action in self._actions for f in action.option_strings)
            message = f"unknown flag {wrong.group(1)}; {nearest(wrong.group(1), flags)}"
        raise UsageError(f"{message} ({self.prog} --help)")


def _one_spelling(arguments: Sequence[str]) -> list[str]:
    """Write `--max-tokens` as `--max_tokens`; both spellings are accepted."""
    written: list[str] = []
    for place, argument in enumerate(arguments):
        if argument == "--":
            return [*written, *arguments[place:]]
        name, equals, value = argument.partition("=")
        if re.fullmatch(r"--[a-z][a-z0-9_-]*", name):
            argument = f"--{name[2:].replace('-', '_')}{equals}{value}"
        written.append(argument)
    return written


def _top_help() -> str:
    lines = [
        "usage: vsr1-bench [COMMAND] …",
        "",
        "Does the model see, or does it guess from language?",
        "",
        "  vsr1-bench --model tiny --tasks demo --limit 100",
        "  vsr1-bench --model Qwen/Qwen2.5-VL-7B-Instruct --tasks all",
        "",
        "commands (each has its own --help):",
        *(f"  {name:<10} {text}" for name, text in COMMANDS.items()),
        "",
        "exit codes: 0 done, 1 failed, 2 wrong usage, 75 incomplete but stored (run it again), "
        "130 interrupted",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if argv is None:  # the whole process is this command
        keep_printing()
        if not _wants_debug(sys.argv):
            quiet_libraries()
    arguments = _one_spelling(sys.argv[1:] if argv is None else argv)
    with plain_streams():
        return _main(arguments)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(_top_help())
        return 0 if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        print(f"vsr1-bench {__version__}")
        return 0
    try:
        plain = _without_config(arguments)
    except BenchError as error:
        print(f"vsr1-bench: {error}", file=sys.stderr)
        return error.exit_code
    if plain == arguments:
        return _guarded(arguments, debug=_wants_debug(arguments))
    from vsr1_bench.store.environment import typed_as

    with typed_as(plain):  # a stored run records the flags, not a file that may change
        return _guarded(plain, debug=_wants_debug(plain))


def _wants_debug(arguments: Sequence[str]) -> bool:
    joined = " ".join(arguments).lower()
    return "--verbosity debug" in joined or "--verbosity=debug" in joined


def _guarded(arguments: list[str], *, debug: bool) -> int:
    """Run a command; every error becomes one line on standard error."""

    def last_words() -> str:
        return "vsr1-bench: interrupted; finished responses are stored\n" + _resume(arguments)

    try:
        with ended_by_sigterm(last_words, EXIT_INTERRUPTED):
            return _dispatch(arguments)
    except BenchError as error:
        if debug:
            logging.getLogger(__name__).exception("traceback of the error below")
        print(f"vsr1-bench: {error}", file=sys.stderr)
        if error.exit_code in (EXIT_INCOMPLETE, EXIT_INTERRUPTED):
            print(_resume(arguments), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("vsr1-bench: interrupted", file=sys.stderr)
        print(_resume(arguments), file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:  # a bug of ours or of a plug-in, not of the user
        if debug:
            raise
        reason = " ".join(str(error).split())[:300]
        print(
            f"vsr1-bench: unexpected {type(error).__name__}: {reason}; finished responses are "
            "stored, --verbosity debug shows where it happened",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _resume(arguments: list[str]) -> str:
    """The line with the command that resumes."""
    from vsr1_bench.store.environment import command_line

    return f"resume with: {command_line(vars(parse(arguments)[1]))}"


def parse(arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Read a command line without its first word, `vsr1-bench`: the command's module, its flags.

    Raises:
        UsageError: an unknown command or flag, or a value that cannot be read.
    """
    arguments = _without_config(_one_spelling(arguments))
    module, parser, named = _command(arguments)
    flags = {flag for action in parser._actions for flag in action.option_strings}
    if not flags >= {word.partition("=")[0] for word in arguments if word.startswith("--")}:
        from vsr1_bench.cli.habits import refuse_habits

        name = "run" if not named else arguments[0]
        refuse_habits(name, flags, arguments[named:])
    return module, parser.parse_args(arguments[named:])


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    return _command([name])[1]


def _without_config(arguments: list[str]) -> list[str]:
    """Replace `--config FILE` by the flags of the file.

    Raises:
        UsageError: an unknown command, or a file that cannot be used.
    """
    if not any(word.partition("=")[0] == "--config" for word in arguments):
        return arguments
    from vsr1_bench.cli.config import with_config

    _, parser, named = _command(arguments)
    return [*arguments[:named], *with_config(parser, arguments[named:])]


def _command(arguments: list[str]) -> tuple[ModuleType, argparse.ArgumentParser, int]:
    """The module of a command line's command, its parser, and the number of words that name it."""
    name = arguments[0]
    named = 0 if name.startswith("-") else 1
    if not named:
        name = "run"
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}; {nearest(name, tuple(COMMANDS))}")
    parser = _Parser(prog=f"vsr1-bench {name}", description=COMMANDS[name], allow_abbrev=False)
    return declare(parser, name), parser, named


def declare(parser: argparse.ArgumentParser, name: str) -> ModuleType:
    """Give a parser the flags of a command, and return the command's module."""
    module = importlib.import_module(f"vsr1_bench.cli.{MODULES.get(name, name)}")
    module.add_arguments(parser)
    parser.add_argument(
        "--verbosity",
        default="INFO",
        type=str.upper,
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="what to log on standard error; DEBUG also shows tracebacks",
    )
    parser.add_argument(
        "--config",
        default=argparse.SUPPRESS,  # `_without_config` has replaced it
        metavar="FILE.yaml",
        help="read flags from this file, named as here without dashes; typed flags take precedence",
    )
    return module


def _dispatch(arguments: list[str]) -> int:
    module, options = parse(arguments)
    logging.basicConfig(level=options.verbosity, format="%(levelname)s %(message)s", force=True)
    for noisy, level in QUIET.items():
        logging.getLogger(noisy).setLevel(logging.DEBUG if options.verbosity == "DEBUG" else level)
    code: int = module.execute(options)
    return code
