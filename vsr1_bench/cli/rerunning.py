"""A stored run's command, typed again: what it is, and what would differ today."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import BenchError, UsageError
from vsr1_bench.store.environment import COMMAND, git_sha, package_versions
from vsr1_bench.store.run_folder import RunFolder, find_runs

if TYPE_CHECKING:
    from vsr1_bench.leaderboard.settings import Difference
    from vsr1_bench.store.spec import RunSpec

# Flags of the recorded command that do not belong to one whole run.
_DROPPED = {"--output_path": 1, "-o": 1, "--tasks": 1, "-t": 1, "--shard": 1, "--force_unlock": 0}
# Flags that execute code. A run.json may be somebody else's, so they count only when typed again.
_EXECUTING = {"--include_path": 1, "--trust_remote_code": 0}


@dataclass(frozen=True, slots=True)
class Rerun:
    """What running a stored run again means."""

    arguments: tuple[str, ...]
    """The command line, without `vsr1-bench`."""
    differences: tuple[Difference, ...]
    """In what a run made today would differ; first = stored, second = today."""
    unknown: str | None
    """Why today's spec cannot be told, in one line; None where it can."""
    lacking: str = ""
    """Recorded flags that execute code and were not typed for this rerun."""

    @property
    def command(self) -> str:
        """Fit to be typed in a shell."""
        return shlex.join([COMMAND, *self.arguments])


def plan_rerun(run: RunFolder, output_path: Path, allowed: Sequence[str] = ()) -> Rerun:
    """Find the command and what would differ; loads no weights and generates nothing.

    Args:
        run: A run that `vsr1-bench run` made.
        output_path: Where the new run goes.
        allowed: Flags that execute code (`--include_path DIR`, `--trust_remote_code`), as typed
            for this rerun. The recorded ones are not used.

    Raises:
        UsageError: the run's responses were made elsewhere, or its command is not recorded.
        StoreError: the run cannot be read.
    """
    meta, spec = run.meta(), run.spec()
    arguments, withheld = rerun_arguments(run, output_path)
    arguments = (*arguments, *allowed)
    lacking = missing_flags(withheld, allowed)
    today: RunSpec | None = None
    unknown = None
    if lacking:
        unknown = f"its command executes code ({lacking}); type that flag again to allow it"
    else:
        try:
            today = _spec_today(list(arguments), spec.variant)
        except BenchError as error:
            unknown = str(error)
    return Rerun(arguments, tuple(_differences(meta, spec, today)), unknown, lacking)


def missing_flags(withheld: Sequence[str], allowed: Sequence[str]) -> str:
    """The recorded flags that execute code and were not typed again, fit for a shell."""
    typed = {word for word in allowed if word.startswith("--")}
    lacking: list[str] = []
    keeps = False
    for word in withheld:
        keeps = word not in typed if word in _EXECUTING else keeps
        lacking += [word] if keeps else []
    return shlex.join(lacking)


def rerun_arguments(run: RunFolder, output_path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The recorded command, of this run's task alone and into another folder.

    Returns:
        Its words without the flags that execute code, and those flags with their values.

    Raises:
        UsageError: the run's responses were made elsewhere, or its command is not recorded.
    """
    meta, spec = run.meta(), run.spec()
    try:
        words = shlex.split(str(meta.get("command", "")))
    except ValueError:
        words = []
    if spec.sampling is None:
        raise UsageError(f"{run.path}: its responses were made elsewhere; nothing to run again")
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


def made_again(run: RunFolder, output_path: Path) -> Path:
    """The newest run below a path that asks what a stored one asks; else the path itself."""
    asked = run.spec()
    found = [
        (str(other.meta().get("updated")), str(other.path))
        for other in find_runs(output_path)
        if (spec := other.spec()).task.name == asked.task.name
        and (spec.model.id, spec.variant) == (asked.model.id, asked.variant)
    ]
    return Path(max(found)[1]) if found else output_path


def _spec_today(arguments: list[str], variant: str) -> RunSpec:
    """The spec that this command has today, by the way a run itself takes.

    Raises:
        UsageError: the command makes no run of this variant.
    """
    from vsr1_bench.cli import run as command
    from vsr1_bench.cli.main import parse
    from vsr1_bench.pipeline.run import plan

    _, options = parse(arguments)
    planned, *_ = plan(command.run_options(options))
    for one in planned:  # with --blind there are several
        if one.spec.variant == variant:
            return one.spec
    raise UsageError(f"the command makes no run of variant {variant}")


def _differences(meta: dict[str, Any], spec: RunSpec, today: RunSpec | None) -> list[Difference]:
    from vsr1_bench.leaderboard.settings import differences, spec_fields

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
