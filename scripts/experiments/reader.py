"""Test where the self-reward stops helping: readers that know the language prior themselves.

    python scripts/experiments/reader.py run [--jobs 2]   # an hour; resumes
    python scripts/experiments/reader.py report           # tables and figure from verdicts.json

`run` teaches starts whose readings of useless descriptions are none, half or all of their
readings, trains two objectives from each on `demo_prior`, evaluates all of them where the prior
says nothing (`demo_prior`) and where it still holds (`demo_kept`), writes what every table rests
on to results/tiny/reader/verdicts.json, and reports. What is compared, and how, was written down
before the runs: results/tiny/reader/plan.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import perceived
from by_start import Contrast, Values, against, family, levels_sheet, sheet_of, tokens_sentence
from perceived import beyond_cells
from stages import (
    BY_VLLM,
    ROLLOUTS,
    evaluate,
    in_parallel,
    mark,
    run_or_report,
    tokens_drawn,
    train,
)
from teaching import BATCH, FIRST, conversation, teach

from vsr1_bench._util.look import plot_style
from vsr1_bench.api import load_runs
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.prompts.formats import FORMATS, build_messages, reading_messages
from vsr1_bench.records import EncodedImage
from vsr1_bench.store.dependences import read_dependences
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.tiny.priors import make_prior_row, suggested
from vsr1_bench.tiny.scenes import Draw, make_row, to_sample
from vsr1_bench.train.tiny_mixture import GLANCED, reply_of

NAME, LIMIT = "reader", 300
TASKS = {"demo_prior": "test", "demo_kept": "train"}
"""Task -> the split whose rule its openings follow."""
STARTS = (1, 2, 3)
KNOWS = (0, 50, 100)
"""Percent of a start's readings that are of a useless description, with the gold answer."""
START_STEPS, STEPS = 500, 15
OBJECTIVES = ("answer_only", "summed")
ARMS = tuple(f"{arm}-{knows}" for knows in KNOWS for arm in ("start", *OBJECTIVES))
ENDPOINTS = {
    "accuracy": "right, of all samples",
    "cells": "cells that the description states as they are, of 16 in every sample",
    "self_contained": "the model itself reads the gold answer off description and question",
    "lsr": "right on a description that does not suffice",
    "leaks": "the description says anything but cells, or that there is a grid",
    "follows": "answers what the opening stands for, of the samples where that is not the gold",
    "blind": "right without the image",
    "dependence": "visual dependence of the responses, in hundredths of a nat per token",
}
OUTSIDE = ("accuracy", "self_contained", "lsr", "blind", "dependence")
"""Those that an evaluator has who knows neither the generator nor what the openings stand for."""


# -- the runs -----------------------------------------------------------------------------------


def run_all(output: Path, jobs: int) -> None:
    """Run what is missing: starts, trainings and evaluations, `jobs` at the same time."""

    def begin(name: str) -> None:
        start, arm = name.split("/")
        rows = examples(int(start), int(arm.removeprefix("start-")), START_STEPS * BATCH)
        teach(output, name, "tiny", rows, START_STEPS, 1e-3)
        measure(output, name)

    def one(name: str) -> None:
        start, arm = name.split("/")
        objective, knows = arm.split("-")
        train(output, name, "grpo", "tiny/prior", **ROLLOUTS, objective=objective, max_steps=STEPS,
              model=str(output / "models" / start / f"start-{knows}"), seed=int(start))  # fmt: skip
        measure(output, name)

    in_parallel(begin, [name for name in names() if "/start-" in name], jobs)
    in_parallel(one, [name for name in names() if "/start-" not in name], jobs)


def examples(start: int, knows: int, n: int) -> Iterator[dict[str, Any]]:
    """Demonstrations on training questions of `demo_prior`; all answers are right.

    A quarter are readings: of true descriptions, or, `knows` percent of them, of one that fits any
    scene. Half of the others describe and reason; the other half describe nothing, and answer.

    Args:
        start: The number of the start.
        knows: 0, 50 or 100.
        n: How many.
    """
    for place in range(n):
        draw = Draw(f"vsr1-reader:{start}:{place}")
        row = make_prior_row("train", FIRST + draw.below(2**40))
        sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
        reads = draw.below(4) == 0
        useless = draw.below(100) < (knows if reads else 50)
        description = GLANCED if useless else row["description"]
        think = "not clear , a guess" if useless else row["reasoning"]
        if reads:
            messages = reading_messages(sample, description)
            yield conversation(messages, reply_of(sample.answer, think=think))
        else:
            messages = build_messages(sample, FORMATS["see_think"])
            reply = reply_of(sample.answer, think=think, description=description)
            yield conversation(messages, reply, row["image"])


def measure(output: Path, name: str) -> None:
    """Both passes, a blind run, and the dependence on the image, on both tasks."""
    evaluate(output, name, ",".join(TASKS), "--limit", str(LIMIT), "--perception",
             "--blind", "drop", "--visual_dependence", *BY_VLLM,
             "--gen_kwargs", "max_tokens=160")  # fmt: skip


def names() -> list[str]:
    """All runs."""
    return [f"{start}/{arm}" for start in STARTS for arm in ARMS]


# -- what the tables rest on --------------------------------------------------------------------


def collect(output: Path) -> dict[str, Any]:
    """Read every run: one character per sample and endpoint, and the mean dependence."""
    runs = {
        task: {name: flags_of(output / "runs" / name, task) for name in names()} for task in TASKS
    }
    trained = [name for name in names() if "/start-" not in name]
    return {**runs, "tokens": {name: tokens_drawn(output, name) for name in trained}}


def flags_of(folder: Path, task: str) -> dict[str, str]:
    """The endpoints of one evaluation, by sample; of `dependence` the mean, as text."""
    stored = load_runs(folder)
    samples = stored.samples[stored.samples["task"] == task].set_index(["variant", "sample_id"])
    seeing, blind = samples.loc["none"], samples.loc["drop"]
    (run,) = (
        run
        for run in map(RunFolder, stored.runs)
        if run.spec().task.name == task and run.spec().variant == "none"
    )
    flags = perceived.flags_of(run, dict(seeing["response"]))
    kept = {name: text for name, text in flags.items() if name in ENDPOINTS}
    kept["leaks"] = "".join(mark(beyond_cells(said)) for said in seeing["response"])
    follows = guessed = ""
    for name, said in seeing["extracted"].items():
        number = int(str(name).removeprefix("test-"))
        row = make_row("test", number)
        hint = suggested(TASKS[task], number, row["kind"], row["answer"])
        follows += "-" if hint == row["answer"] else mark(said == hint)
        right = blind.loc[name, "correct"]
        guessed += mark(None if np.isnan(right) else bool(right))
    known = [one.value for one in read_dependences(run).values() if one.value is not None]
    return {**kept, "follows": follows, "blind": guessed, "dependence": f"{np.mean(known):.6f}"}


def values_of(stored: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """The mean of every endpoint of every run."""
    flags = {
        name: {e: text for e, text in one.items() if e != "dependence"}
        for name, one in stored.items()
    }
    return {
        name: {**means, "dependence": float(stored[name]["dependence"])}
        for name, means in perceived.means(flags).items()
    }


# -- the report ---------------------------------------------------------------------------------


def gains(values: Values, endpoints: Sequence[str], over: str) -> dict[str, dict[str, float]]:
    """By start and reader, what `summed` has more than `over`, an arm."""
    return {
        f"{start}/gain-{knows}": {
            endpoint: values[f"{start}/summed-{knows}"][endpoint]
            - values[f"{start}/{over}-{knows}"][endpoint]
            for endpoint in endpoints
        }
        for start in STARTS
        for knows in KNOWS
    }


def noticed(values: Values, arm: str) -> list[Contrast]:
    """What tells an arm whose reader knows the prior from one whose reader does not."""
    most, least = (f"{arm}-{knows}" for knows in (KNOWS[-1], KNOWS[0]))
    return family(against(values, most, least, endpoint, STARTS) for endpoint in OUTSIDE)


def report(folder: Path) -> str:
    """Write summary.md and gain.png beside verdicts.json, and return the summary."""
    stored = json.loads((folder / "verdicts.json").read_text("utf-8"))
    values = {task: values_of(stored[task]) for task in TASKS}
    useless, kept = (values[task] for task in TASKS)
    primary = family(
        against(useless, f"summed-{k}", f"answer_only-{k}", "accuracy", STARTS) for k in KNOWS
    )
    added = gains(useless, ["accuracy"], "answer_only")
    fall = against(added, "gain-100", "gain-0", "accuracy", STARTS)
    rest = family(
        against(useless, f"summed-{k}", f"answer_only-{k}", endpoint, STARTS)
        for k in KNOWS
        for endpoint in ENDPOINTS
        if endpoint != "accuracy"
    )
    draw(useless, kept, folder / "gain.png")
    trained = [arm for arm in ARMS if not arm.startswith("start-")]
    parts = [
        "# Where the self-reward stops helping: readers that know the language prior",
        f"Printed by `python scripts/experiments/{NAME}.py report`. {LIMIT} test rows of each "
        f"task, {len(STARTS)} starts. plan.md says what was to be compared. The number behind an "
        "arm is the percentage of its start's readings that teach the prior. Percent: mean over "
        "the starts, lowest and highest start in brackets.",
        "\n".join(f"- `{name}`: {text}." for name, text in ENDPOINTS.items()),
        "## Where openings say nothing (`demo_prior`)",
        markdown(levels_sheet(useless, ARMS, tuple(ENDPOINTS), STARTS)),
        "## Where openings reveal the answer, as in training (`demo_kept`)",
        markdown(levels_sheet(kept, ARMS, tuple(ENDPOINTS), STARTS)),
        tokens_sentence(stored["tokens"], trained, STARTS),
        "## Primary: what the self-reward adds to accuracy where openings say nothing",
        "Points, with 95 % intervals over the starts.",
        markdown(sheet_of(primary)),
        "## Secondary: how much of it is lost when the reader knows the prior",
        markdown(sheet_of([replace(fall, holm=fall.p)])),
        "## Secondary: what notices it where the prior still holds (`demo_kept`)",
        markdown(sheet_of(noticed(kept, "summed"))),
        "## Exploratory: the same, of what training changed",
        "Differences between the changes from their starts.",
        markdown(sheet_of(noticed(gains(kept, OUTSIDE, "start"), "gain"))),
        "## Exploratory: the other endpoints where openings say nothing",
        markdown(sheet_of(rest)),
        "![Accuracy and what an evaluator sees, by reader](gain.png)",
    ]
    text = "\n\n".join(parts) + "\n"
    write_atomic(folder / "summary.md", text)
    return text


def draw(useless: Values, kept: Values, path: Path) -> None:
    """Draw what the reader's knowledge does to `summed`: points are starts, lines their means."""
    from matplotlib.figure import Figure

    panels = (
        ("openings say nothing", useless, ("accuracy", "cells", "follows")),
        ("openings reveal the answer", kept, ("accuracy", "lsr", "self_contained", "blind")),
    )
    with plot_style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        for place, (title, values, endpoints) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, 2, place)
            for number, endpoint in enumerate(endpoints):
                each = np.array(
                    [[100 * values[f"{s}/summed-{k}"][endpoint] for k in KNOWS] for s in STARTS]
                )  # (starts, readers)
                axes.plot(KNOWS, each.mean(axis=0), f"C{number}", lw=2, label=endpoint)
                axes.plot(KNOWS, each.T, f"C{number}.", alpha=0.6)
            axes.set(title=title, xlabel="readings that teach the prior, %", ylabel="summed, %",
                     xticks=KNOWS, ylim=(0, 100))  # fmt: skip
            axes.legend()
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(run_or_report(NAME, run_all, collect, report))
