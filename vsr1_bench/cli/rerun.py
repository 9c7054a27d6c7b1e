"""`vsr1-bench rerun`: repeat a stored run."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench._util.paths import user_path
from vsr1_bench.cli import common
from vsr1_bench.errors import EXIT_DONE, EXIT_FAILED, BenchError, UsageError

if TYPE_CHECKING:
    from vsr1_bench.leaderboard.settings import Difference
    from vsr1_bench.store.run_folder import RunFolder
    from vsr1_bench.store.spec import RunSpec

# Flags of the recorded command that do not belong to one whole run.
_DROPPED = {"--output_path": 1, "-o": 1, "--tasks": 1, "-t": 1, "--shard": 1, "--force_unlock": 0}
# Flags that execute code. A run.json may be somebody else's, so they count only when typed again.
_EXECUTING = {"--include_path": 1, "--trust_remote_code": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("run", type=user_path, metavar="RUN", help="folder of one run")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print the command and what would differ today; run nothing",
    )
    parser.add_argument(
        "--as_config",
        type=user_path,
        metavar="FILE.yaml",
        help="write the command as a file for --config; run nothing",
    )
    new = "folder of the new run (default: reruns); the stored run is not changed"
    common.add_output_path(parser, new, "reruns")
    common.add_include_path(parser)
    common.add_trust_remote_code(parser)
    parser.epilog = (
        "If the recorded command has --include_path or --trust_remote_code, it executes code, and "
        "run.json may come from someone else. Repeat these flags here to allow it."
    )


def execute(options: argparse.Namespace) -> int:
    """Print what would differ, then run."""
    from vsr1_bench.cli.main import parse
    from vsr1_bench.compare.explain import difference_table
    from vsr1_bench.store.environment import COMMAND, typed_as
    from vsr1_bench.store.run_folder import find_runs

    runs = find_runs(options.run)
    if len(runs) > 1:
        listed = ", ".join(str(run.path) for run in runs[:5])
        raise UsageError(f"{options.run} holds {len(runs)} runs; name one of them: {listed}")
    (run,) = runs
    if options.as_config:
        return _write_config(run, options.as_config, _allowed(options))
    if options.output_path.resolve() == run.path.parent.parent.resolve():
        raise UsageError(
            f"--output_path {options.output_path}: {run.path} is stored there, so nothing would "
            "be generated; name another folder"
        )
    rerun = plan_rerun(run, options.output_path, _allowed(options))
    out = sys.stdout if options.dry_run else sys.stderr
    print(rerun.command, file=out)
    if rerun.unknown:
        print(f"\nIt cannot run here: {rerun.unknown}", file=out)
    if rerun.differences:
        print(f"\n{difference_table(rerun.differences, 'stored', 'today')}", file=out)
    elif not rerun.unknown:
        print("\nNothing that is recorded would differ.", file=out)
    if options.dry_run:
        return EXIT_FAILED if rerun.unknown else EXIT_DONE
    if rerun.missing:
        raise UsageError(
            f"{run.path}: its command executes code; check the code, then allow it with "
            f"`rerun {shlex.quote(str(run.path))} {rerun.missing}`"
        )
    module, arguments = parse(list(rerun.arguments))
    with typed_as(rerun.arguments):  # so that the new run can be repeated, too
        code: int = module.execute(arguments)
    new = newest_rerun(run, options.output_path)
    command = shlex.join([COMMAND, "compare", str(run.path), str(new)])
    print(f"compare with: {command}", file=sys.stderr)
    return code


def _allowed(options: argparse.Namespace) -> list[str]:
    """The flags that execute code, as typed for this rerun or set in this environment."""
    from vsr1_bench.store.environment import included_folders

    folders = dict.fromkeys((*included_folders(), *options.include_path))
    allowed = [word for path in folders for word in ("--include_path", path)]
    return allowed + (["--trust_remote_code"] if options.trust_remote_code else [])


def _write_config(run: RunFolder, file: Path, allowed: Sequence[str]) -> int:
    """Write the recorded command as a file for `--config`."""
    from vsr1_bench.cli.config import as_yaml
    from vsr1_bench.cli.main import parser_of
    from vsr1_bench.store.environment import COMMAND
    from vsr1_bench.store.journal import write_atomic

    words, withheld = rerun_arguments(run, file)
    words = words[1 : words.index("--output_path", -2)]  # without `run`, and without a folder
    comments = [f"The command of {run.path.name}; run it with: {COMMAND} --config {file.name}"]
    if missing := missing_flags(withheld, allowed):
        comments.append(f"Left out, because it executes code: {missing}")
        print(f"vsr1-bench: left out, because it executes code: {missing}", file=sys.stderr)
    write_atomic(file, as_yaml(parser_of("run"), [*words, *allowed], comments))
    print(f"{file}; run it with: {shlex.join([COMMAND, '--config', str(file)])}")
    return EXIT_DONE


@dataclass(frozen=True, slots=True)
class Rerun:
    """The command that repeats a stored run, and what would differ."""

    arguments: tuple[str, ...]
    """The command line, without `vsr1-bench`."""
    differences: tuple[Difference, ...]
    """How a run of today would differ; first = stored, second = today."""
    unknown: str | None
    """Why today's spec cannot be computed, in one line; None if it can."""
    missing: str = ""
    """Recorded flags that execute code and were not typed for this rerun."""

    @property
    def command(self) -> str:
        """The command line, quoted for a shell."""
        from vsr1_bench.store.environment import COMMAND

        return shlex.join([COMMAND, *self.arguments])


def plan_rerun(run: RunFolder, output_path: Path, allowed: Sequence[str] = ()) -> Rerun:
    """Find the command and what would differ, without loading weights or generating.

    Args:
        run: A run that `vsr1-bench run` made.
        output_path: Where the new run goes.
        allowed: Flags that execute code (`--include_path DIR`, `--trust_remote_code`), as typed
            for this rerun. The recorded ones are not used.

    Raises:
        UsageError: the run was imported, or its command is not recorded.
        StoreError: the run cannot be read.
    """
    meta, spec = run.meta(), run.spec()
    arguments, withheld = rerun_arguments(run, output_path)
    arguments = (*arguments, *allowed)
    missing = missing_flags(withheld, allowed)
    today: RunSpec | None = None
    unknown = None
    if missing:
        unknown = f"its command executes code ({missing}); type that flag again to allow it"
    else:
        try:
            today = _spec_today(list(arguments), spec.variant)
        except BenchError as error:
            unknown = str(error)
    return Rerun(arguments, tuple(_differences(meta, spec, today)), unknown, missing)


def missing_flags(withheld: Sequence[str], allowed: Sequence[str]) -> str:
    """The recorded flags that execute code and were not typed again, quoted for a shell."""
    typed = {word for word in allowed if word.startswith("--")}
    missing: list[str] = []
    keeps = False
    for word in withheld:
        keeps = word not in typed if word in _EXECUTING else keeps
        missing += [word] if keeps else []
    return shlex.join(missing)


def rerun_arguments(run: RunFolder, output_path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The recorded command, with only this run's task and into another folder.

    Returns:
        Its words without the flags that execute code, and those flags with their values.

    Raises:
        UsageError: the run was imported, or its command is not recorded.
    """
    from vsr1_bench.store.environment import COMMAND

    meta, spec = run.meta(), run.spec()
    try:
        words = shlex.split(str(meta.get("command", "")))
    except ValueError:
        words = []
    if spec.sampling is None:
        raise UsageError(f"{run.path}: its responses were imported; there is no command to repeat")
    if len(words) < 2 or words[0] != COMMAND or not (words[1] == "run" or words[1][0:1] == "-"):
        raise UsageError(f"{run.path}: run.json records no command of {COMMAND}")
    kept: list[str] = []
    withheld: list[str] = []
    rest = iter(words[2:] if words[1] == "run" else words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        flag = f"--{name[2:].replace('-', '_')}" if name.startswith("--") else name
        if flag in _DROPPED:
            if _DROPPED[flag] and not equals:
                next(rest, None)
            continue
        if flag in _EXECUTING:
            withheld.append(flag)
            if _EXECUTING[flag]:
                withheld.append(value if equals else next(rest, ""))
            continue
        kept.append(word)
    own = ("--tasks", spec.task.name, "--output_path", str(output_path))
    return ("run", *kept, *own), tuple(withheld)


def newest_rerun(run: RunFolder, output_path: Path) -> Path:
    """The newest run below a path with a stored run's model, task and variant; else the path."""
    from vsr1_bench.store.run_folder import find_runs

    def key(one: RunFolder) -> tuple[str, ...]:
        spec = one.spec()
        return spec.model.id, spec.task.name, spec.variant

    reruns = [
        (str(other.meta().get("updated")), str(other.path))
        for other in find_runs(output_path)
        if key(other) == key(run)
    ]
    return Path(max(reruns)[1]) if reruns else output_path


def _spec_today(arguments: list[str], variant: str) -> RunSpec:
    """The spec that this command would have today, by the code that `run` uses.

    Raises:
        UsageError: the command has no run of this variant.
    """
    from vsr1_bench.cli.main import parse
    from vsr1_bench.cli.run import run_flags
    from vsr1_bench.pipeline.plan import plan

    _, options = parse(arguments)
    planned, *_ = plan(run_flags(options).run_options())
    for one in planned:  # with --blind there are several
        if one.spec.variant == variant:
            return one.spec
    raise UsageError(f"the command has no run of variant {variant}")


def _differences(meta: dict[str, Any], spec: RunSpec, today: RunSpec | None) -> list[Difference]:
    from vsr1_bench.leaderboard.settings import differences, spec_fields
    from vsr1_bench.store.environment import git_sha, package_versions

    then = {f"other.version of {name}": v for name, v in (meta.get("versions") or {}).items()}
    now: dict[str, Any] = {
        f"other.version of {name}": value for name, value in package_versions().items()
    }
    then["other.commit of vsr1-bench"] = meta.get("git")
    now["other.commit of vsr1-bench"] = git_sha()
    if today is not None:
        then |= spec_fields(spec)
        now |= spec_fields(today)
    return differences(then, now)
