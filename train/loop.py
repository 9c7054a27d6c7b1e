"""The loop: evaluate the start, then train and evaluate in rounds on the same samples; compare.

    <output_path>/
      loop.json         what the loop is; another one is refused
      start/            where a start was asked for: its cold start
      round-1/          a round's training
      models/round-1/   its weights, a plain Hugging Face folder
      runs/start/       evaluations, in the evaluator's own layout
      summary.md, summary.json, round-1.png

Every stage is a command of this tool in a separate process and resumes by itself, so the loop's
own state is what is there: the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vsr1_bench._util.processes import run_command
from vsr1_bench.errors import EXIT_INCOMPLETE, BenchError, StoreError, UsageError
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.store.journal import Lock, write_atomic
from vsr1_bench.store.run_folder import find_runs

from .core.checkpoints import steps_made
from .loop_summary import write_summary
from .recipe import Recipe, load_recipe, trainer_of
from .sft_recipe import SftRecipe, load_sft_recipe

log = logging.getLogger(__name__)


class LoopError(BenchError):
    """A stage has stopped; the same command resumes from there."""


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """What to do; the fields are the flags of `vsr1-bench loop`."""

    recipe: str
    tasks: str
    output_path: Path
    settings: tuple[str, ...] = ()
    """`key=value` of the recipe."""
    rounds: int = 1
    start: str | None = None
    """Recipe of `train sft` that makes the start; None = the recipe's `model`."""
    limit: int | None = None
    perception: str | None = "self"
    blind: str | None = "drop"
    include_path: tuple[str, ...] = ()
    """Folders of plug-ins, for evaluations."""
    run_args: tuple[str, ...] = ()
    """More flags of `vsr1-bench run`, for every evaluation alike."""
    nproc: int | None = None
    accept_changed_data: bool = False

    def identity(self) -> dict[str, Any]:
        """What must be the same when the loop goes on; `rounds` may grow."""
        kept = asdict(self)
        for name in ("output_path", "rounds", "nproc", "accept_changed_data"):
            kept.pop(name)
        found: dict[str, Any] = json.loads(json.dumps(kept))
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """A command of the loop, and how to tell that it need not be run again."""

    name: str
    arguments: tuple[str, ...]
    done: Callable[[], bool]
    suffices: Callable[[], bool] = lambda: False
    """Whether what it has made is enough to go on with, though it is incomplete."""
    lacks: Callable[[], str] = lambda: ""
    """What it was to make and has not, whatever its exit code said; empty if nothing."""


def run_loop(
    options: LoopOptions, command: Callable[[Sequence[str]], int] = run_command
) -> tuple[Path, list[str]]:
    """Do what is missing of a loop, and write its summary.

    Args:
        options: What to do.
        command: Runs a command of this tool and returns its exit code.

    Returns:
        The summary in markdown, beside which lies summary.json; and the evaluations that have no
        verdicts on some samples.

    Raises:
        UsageError: settings that cannot be, or the folder of another loop.
        LoopError: a stage has stopped; with its exit code.
        StoreError: the folder cannot be written, or another process works in it.
    """
    recipe = read(options)
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
            elif code:
                error = LoopError(f"loop stopped at {stage.name} (exit code {code})")
                error.exit_code = code if code > 0 else 1
                raise error
            elif lacking := stage.lacks():
                error = LoopError(f"loop stopped at {stage.name}: {lacking}")
                error.exit_code = EXIT_INCOMPLETE
                raise error
        labels = ["start", *(f"round-{k}" for k in range(1, options.rounds + 1))]
        return write_summary(folder, labels, options.identity()), incomplete
    finally:
        lock.release()


def read(options: LoopOptions) -> Recipe | SftRecipe:
    """The recipe of the rounds.

    Raises:
        UsageError: an unknown recipe or key, or one that the loop sets itself.
    """
    given = {setting.partition("=")[0].strip() for setting in options.settings}
    if "output_dir" in given:
        raise UsageError("output_dir: the loop sets it; say where by --output_path DIR")
    if options.start and "model" in given:
        raise UsageError(f"model= and --start {options.start}: give one of them")
    load = load_sft_recipe if trainer_of(options.recipe) == "sft" else load_recipe
    if options.start:
        load_sft_recipe(options.start)
    return load(options.recipe, options.settings)


def _claim(path: Path, identity: dict[str, Any]) -> None:
    """Write down what the loop is, or see that it is the same.

    Raises:
        UsageError: the folder holds another loop.
        StoreError: not readable or writable.
    """
    if not path.is_file():
        write_atomic(path, json.dumps(identity, indent=1) + "\n")
        return
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable ({error})") from error
    known.setdefault("include_path", [])  # of a loop that began before there was this flag
    changed = [
        f"{key}: {known.get(key)!r} -> {value!r}"
        for key, value in identity.items()
        if known.get(key) != value
    ]
    if changed:
        raise UsageError(
            f"{path.parent} holds a loop with other settings ({'; '.join(changed)}); give the "
            "same, or another --output_path"
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
        # Another seed: another order of the data than in the round before.
        own = (f"model={json.dumps(model)}", f"seed={recipe.seed + number - 1}")
        settings = (*options.settings, *own)
        stages += _training(options, label, options.recipe, settings, last=peeks(options, recipe))
        model = str(folder / "models" / label)
        stages.append(_evaluation(options, recipe, label, model))
    return stages


def peeks(options: LoopOptions, recipe: Recipe | SftRecipe) -> bool:
    """Whether training validates on what the loop tests: its best weights were chosen on it."""
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
    """A training and the export of its weights, which is what says that it is done."""
    trained, model = options.output_path / label, options.output_path / "models" / label
    flags = ["--nproc", str(options.nproc)] if options.nproc else []
    flags += ["--accept_changed_data"] if options.accept_changed_data else []
    where = f"output_dir={json.dumps(str(trained))}"
    action = trainer_of(recipe)

    def done() -> bool:
        return model.is_dir()

    def lacks() -> str:
        made, wanted = steps_made(trained)
        if made and made >= (wanted or made):
            return ""
        return f"{trained} has {made} of {wanted or 'its'} steps; the same command continues"

    export = ("train", "export", str(trained), str(model), *(("--last",) if last else ()))
    return [
        Stage(
            f"train {label}",
            ("train", action, recipe, *settings, where, *flags),
            done,
            lacks=lacks,
        ),
        Stage(f"export {label}", export, done),
    ]


def _evaluation(options: LoopOptions, recipe: Recipe | SftRecipe, label: str, model: str) -> Stage:
    """An evaluation; it is run again each time, which costs nothing where nothing is missing."""
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
        """Whether every run has verdicts, so that it can be compared."""
        return folder.is_dir() and all(
            run.judged() and any(score["rates"]["scored"] for score in run.scores())
            for run in find_runs(folder)
        )

    return Stage(f"evaluate {label}", (*arguments, *options.run_args), lambda: False, scored)
