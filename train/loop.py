"""The loop: evaluate a start model, then train and evaluate it in rounds on the same samples.

    <output_path>/
      loop.json         the loop's settings; another loop is refused
      start/            with --start: the training of the start model
      round-1/          the training of a round
      models/round-1/   its weights, a plain Hugging Face folder
      runs/start/       evaluations, in the evaluator's layout
      summary.md, summary.json, round-1.png

Each stage is a command of this tool in a separate process, and resumes by itself. The loop has no
other state, so the same command continues from any point.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.processes import run_command
from vsr1_bench.errors import EXIT_FAILED, EXIT_INCOMPLETE, BenchError, StoreError, UsageError
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.store.journal import Lock, write_atomic
from vsr1_bench.store.run_folder import find_runs

from .core.checkpoints import steps_made
from .loop_summary import write_summary
from .recipe import Recipe, trainer_of
from .sft_recipe import SftRecipe, load_any_recipe, load_sft_recipe

log = logging.getLogger(__name__)


class LoopError(BenchError):
    """A stage has stopped; the same command resumes from there."""


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The flags of `vsr1-bench loop`."""

    recipe: str
    tasks: str
    output_path: Path
    settings: tuple[str, ...] = ()
    """`key=value` settings of the recipe."""
    rounds: int = 1
    start: str | None = None
    """Recipe of `train sft` that makes the start model; None = the recipe's `model`."""
    limit: int | None = None
    perception: str | None = "self"
    blind: str | None = "drop"
    include_path: tuple[str, ...] = ()
    """Folders of plug-ins, for evaluations."""
    run_args: tuple[str, ...] = ()
    """More flags of `vsr1-bench run`, for every evaluation."""
    nproc: int | None = None
    accept_changed_data: bool = False

    def identity(self) -> dict[str, Any]:
        """The settings that must not change when the loop continues; `rounds` may grow."""
        kept = asdict(self)
        for name in ("output_path", "rounds", "nproc", "accept_changed_data"):
            kept.pop(name)
        identity: dict[str, Any] = json.loads(json.dumps(kept))
        return identity


@dataclass(frozen=True, slots=True)
class Stage:
    """A command of the loop."""

    name: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]
    """Whether it need not run."""
    suffices: Callable[[], bool] = lambda: False
    """Whether the loop can continue after exit code 75 (incomplete)."""
    missing: Callable[[], str] = lambda: ""
    """What is missing after exit code 0; empty if nothing."""


def run_loop(
    options: LoopOptions, command: Callable[[Sequence[str]], int] = run_command
) -> tuple[Path, list[str]]:
    """Run the missing stages of a loop, and write its summary.

    Args:
        options: The flags.
        command: Runs a command of this tool and returns its exit code.

    Returns:
        The path of summary.md (summary.json is in the same folder), and the names of evaluations
        in which some samples have no verdict.

    Raises:
        UsageError: the settings contradict each other, or the folder has another loop.
        LoopError: a stage has stopped; with its exit code.
        StoreError: the folder cannot be written, or another process writes to it.
    """
    *_, recipe = read(options)
    folder = options.output_path
    lock = Lock(folder / ".lock")
    try:
        _claim(folder / "loop.json", options.identity())
        stages, incomplete = plan(options, recipe), list[str]()
        for number, stage in enumerate(stages, start=1):
            if stage.done():
                continue
            log.info("loop, %d of %d: %s", number, len(stages), stage.name)
            code = command(stage.arguments)
            if code == EXIT_INCOMPLETE and stage.suffices():
                incomplete.append(stage.name)
            elif code or (missing := stage.missing()):
                reason = f" (exit code {code})" if code else f": {missing}"
                error = LoopError(f"loop stopped at {stage.name}{reason}")
                error.exit_code = max(code, EXIT_FAILED) if code else EXIT_INCOMPLETE
                raise error
        labels = ["start", *(f"round-{k}" for k in range(1, options.rounds + 1))]
        return write_summary(folder, labels, options.identity()), incomplete
    finally:
        lock.release()


def read(options: LoopOptions) -> list[Recipe | SftRecipe]:
    """The recipes that a loop trains; that of the rounds is the last one.

    Raises:
        UsageError: the recipe or a key is unknown, or the loop sets the key itself.
    """
    keys = {setting.partition("=")[0].strip() for setting in options.settings}
    if "output_dir" in keys:
        raise UsageError("output_dir: the loop sets it; give the folder by --output_path DIR")
    if options.start and "model" in keys:
        raise UsageError(f"model= and --start {options.start}: give one of them")
    start: list[Recipe | SftRecipe] = [load_sft_recipe(options.start)] if options.start else []
    return [*start, load_any_recipe(options.recipe, options.settings)]


def _claim(path: Path, identity: dict[str, Any]) -> None:
    """Store the loop's settings, or compare them with the stored ones.

    Raises:
        UsageError: the folder has another loop.
        StoreError: the file cannot be read or written.
    """
    if not path.is_file():
        write_atomic(path, json.dumps(identity, indent=1) + "\n")
        return
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable ({error})") from error
    known.setdefault("include_path", [])  # a loop of a version without this flag
    changed = [
        f"{key}: {known.get(key)!r} -> {value!r}"
        for key, value in identity.items()
        if known.get(key) != value
    ]
    if changed:
        raise UsageError(
            f"{path.parent} has a loop with other settings ({'; '.join(changed)}); give the same "
            "settings, or another --output_path"
        )


def plan(options: LoopOptions, recipe: Recipe | SftRecipe) -> list[Stage]:
    """The commands of a loop, in order."""
    folder, stages = options.output_path, []
    model = recipe.model
    if options.start:
        model = str(folder / "models" / "start")
        stages += _training(options, "start", options.start, ())
    stages.append(_evaluation(options, recipe, "start", model))
    for number in range(1, options.rounds + 1):
        label = f"round-{number}"
        # Another seed, so that the data have another order than in the previous round.
        seed = f"seed={recipe.seed + number - 1}"
        settings = (*options.settings, f"model={json.dumps(model)}", seed)
        stages += _training(options, label, options.recipe, settings, last=peeks(options, recipe))
        model = str(folder / "models" / label)
        stages.append(_evaluation(options, recipe, label, model))
    return stages


def peeks(options: LoopOptions, recipe: Recipe | SftRecipe) -> bool:
    """Whether training validates on tasks of the loop, so that its best weights overfit them."""
    if not isinstance(recipe, Recipe) or not recipe.eval_every:
        return False
    tested = {task.name for task in resolve_tasks(options.tasks, options.include_path)}
    return any(task.name in tested for task in resolve_tasks(recipe.eval_tasks))


def _training(
    options: LoopOptions,
    label: str,
    recipe: str,
    settings: tuple[str, ...],
    *,
    last: bool = False,
) -> list[Stage]:
    """A training and the export of its weights; it is done when the exported folder exists."""
    trained, model = options.output_path / label, options.output_path / "models" / label
    flags = ["--nproc", str(options.nproc)] if options.nproc else []
    flags += ["--accept_changed_data"] if options.accept_changed_data else []
    where = f"output_dir={json.dumps(str(trained))}"
    train = ("train", trainer_of(recipe), recipe, *settings, where, *flags)
    export = ("train", "export", str(trained), str(model), *(("--last",) if last else ()))

    def missing() -> str:
        steps, wanted = steps_made(trained)
        if steps and steps >= (wanted or steps):
            return ""
        return f"{trained} has {steps} of {wanted or 'its'} steps; the same command continues"

    return [
        Stage(f"train {label}", train, model.is_dir, missing=missing),
        Stage(f"export {label}", export, model.is_dir),
    ]


def _evaluation(options: LoopOptions, recipe: Recipe | SftRecipe, label: str, model: str) -> Stage:
    """An evaluation. It runs every time, which takes no time if nothing is missing."""
    folder = options.output_path / "runs" / label
    arguments = ["run", "--model", model, "--tasks", options.tasks, "--output_path", str(folder)]
    for path in options.include_path:
        arguments += ["--include_path", path]
    if isinstance(recipe, Recipe) and "--prompt" not in options.run_args:
        arguments += ["--prompt", recipe.prompt]
    for flag in ("limit", "perception", "blind"):
        if (value := getattr(options, flag)) is not None:
            arguments += [f"--{flag}", str(value)]

    def scored() -> bool:
        """Whether every run has verdicts to compare."""
        return folder.is_dir() and all(
            run.judged() and any(score["rates"]["scored"] for score in run.scores())
            for run in find_runs(folder)
        )

    return Stage(f"evaluate {label}", (*arguments, *options.run_args), lambda: False, scored)
