"""Validation during training: an evaluation run on the rollouts' engine."""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import replace
from pathlib import Path

from vsr1_bench.audit.items import read_items
from vsr1_bench.audit.overlap import KINDS, find_overlap, of_task_data
from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.errors import BenchError, UsageError
from vsr1_bench.generation.base import SyncableGenerator
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.judging.choose import JudgeChoice, choose_judges
from vsr1_bench.judging.open import JudgePool
from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.registry import resolve_tasks
from vsr1_bench.scoring.runs import judge_and_score_runs

from ..core.ranks import Ranks
from ..recipe import Recipe

log = logging.getLogger(__name__)

FOLDER = "validation"
"""In `output_dir`; one folder of runs per validated step."""


def validation_judges(recipe: Recipe) -> dict[str, JudgeChoice]:
    """The judge of each validation task; empty if the recipe validates nothing.

    Raises:
        UsageError: a task is unknown, or its judge cannot be used and has no substitute.
    """
    if not recipe.eval_every:
        return {}
    with JudgePool() as pool:
        choices = choose_judges(resolve_tasks(recipe.eval_tasks), None, pool)
    for choice in choices.values():
        if not choice.usable:
            raise UsageError(f"eval_tasks={recipe.eval_tasks}: {choice.warning}")
    return choices


def note_overlap(recipe: Recipe, data: TaskData) -> None:
    """Log how many validation samples are in the training data, within `overlap_seconds`.

    Args:
        recipe: The validation tasks, and the number of samples of each.
        data: The training data.
    """
    if not recipe.eval_every or not recipe.overlap_seconds:
        return
    tasks, rows = resolve_tasks(recipe.eval_tasks), of_task_data(data.spec.id, data)
    options = DataOptions.from_flags(recipe.data_root, recipe.offline)
    for task in tasks:
        try:
            found = read_items(
                open_data(task, options), recipe.eval_limit, pictures=True, progress=False
            )
            seconds = recipe.overlap_seconds / len(tasks)
            overlap = find_overlap(found, rows, seconds=seconds, progress=False)
        except BenchError as error:  # whoever needs these rows will say so, too
            log.warning("overlap of %s with the training data: not checked: %s", task.name, error)
            continue
        n = len(overlap.items())
        log.log(
            logging.WARNING if n else logging.INFO,
            "overlap: %d of %d validation samples of %s are in the training data%s "
            "(%d of %d rows compared)%s",
            *(n, len(found.items), task.name),
            "".join(f"; by {k}: {len(overlap.items(k))}" for k in KINDS if overlap.items(k)),
            *(overlap.compared, overlap.rows),
            f"; which ones: vsr1-bench audit {task.name} --against DATASET" if n else "",
        )


def forget_validations(output_dir: Path, step: int) -> None:
    """Remove the runs of steps after a checkpoint, which a resumed training repeats."""
    for run in (output_dir / FOLDER).glob("step-*"):
        if int(run.name.removeprefix("step-")) > step:
            shutil.rmtree(run)


def validate(
    recipe: Recipe,
    model: ModelInfo,
    generator: SyncableGenerator,
    ranks: Ranks,
    step: int,
    judges: dict[str, JudgeChoice],
) -> dict[str, float]:
    """Run the recipe's validation tasks; all ranks call, and each generates its share.

    The runs are in `<output_dir>/validation`, in the evaluator's layout.

    Args:
        recipe: The tasks, and the number of samples of each.
        model: The model that training started from.
        generator: Holds the current weights.
        ranks: The ranks that generate.
        step: The step of the weights.
        judges: From `validation_judges`.

    Returns:
        `validation/<task>` in percent (the task's first metric), and `validation/mean`.
    """
    # The weights are in no folder: run and step are their name and fingerprint.
    mark = hashlib.sha256(f"{model.fingerprint}|{recipe.digest()}|{step}".encode()).hexdigest()
    name = f"step-{step:06d}"
    live = replace(model, id=name, fingerprint=mark[:32], verified=False, origin=None)
    options = RunOptions(
        model=live.id,
        tasks=recipe.eval_tasks,
        output_path=recipe.output_dir / FOLDER,
        backend="transformers",  # only a name here, because the engine is running
        model_args={
            name: value
            for name, value in ({"dtype": recipe.dtype} | recipe.engine_args).items()
            if name in ("dtype", "max_model_len")  # those that affect responses
        },
        gen_kwargs={"max_tokens": recipe.max_tokens, "seed": recipe.seed},
        prompt=recipe.prompt,
        limit=recipe.eval_limit,
        shard=(ranks.rank, ranks.world),
        data=DataOptions.from_flags(recipe.data_root, recipe.offline),
        progress=False,
    )
    runs = generate(options, generator, live)
    ranks.gather(None)  # wait until all ranks have generated their shares
    scores: dict[str, float] = {}
    if ranks.first:
        with JudgePool() as pool:
            folders = [run.folder for run in runs]
            documents = judge_and_score_runs(folders, judges, pool, progress=False)
        for document in documents[: len(runs)]:  # not those of groups
            value = next(iter(document["metrics"].values()))["value"]
            if value is not None:
                scores[f"validation/{document['task']}"] = 100 * value
    scores = ranks.gather(scores)[0]
    if scores:
        scores["validation/mean"] = sum(scores.values()) / len(scores)
    return scores
