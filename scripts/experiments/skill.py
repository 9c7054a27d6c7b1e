"""Test whether reinforcement learning teaches the embedded model a skill that no example showed.

    python scripts/experiments/skill.py run [--jobs 2]   # an hour and a half; resumes
    python scripts/experiments/skill.py report           # tables and figure from verdicts.json

`run` makes the starts, trains every arm from each, samples 64 answers to every test question,
writes what every table rests on to results/tiny/skill/verdicts.json, and reports. What is
compared, and how, was written down before the runs: results/tiny/skill/plan.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from by_start import Contrast, Values, against, family, levels_sheet, sheet_of
from perceived import beyond_cells
from stages import (
    BY_VLLM,
    HERE,
    ROLLOUTS,
    evaluate,
    in_parallel,
    run_or_report,
    tokens_drawn,
    train,
)
from teaching import BATCH, FIRST, conversation, teach
from worlds.demo_tally import LARGE, make_tally_row

from vsr1_bench._util.look import plot_style
from vsr1_bench.api import load_runs
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.prompts.formats import FORMATS, build_messages, reading_messages
from vsr1_bench.records import EncodedImage
from vsr1_bench.store.journal import read_journal, write_atomic
from vsr1_bench.tiny.scenes import to_sample
from vsr1_bench.train.tiny_mixture import reply_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NAME, TASK, EASY = "skill", "demo_tally", "demo_tally_easy"
LIMIT, SAMPLES, TOKENS = 300, 64, 128
EASY_SAMPLES = 4
STARTS = (1, 2, 3)
STEPS, PROMPTS, RESPONSES = 20, 32, 8
START_STEPS = 400
UPDATES = STEPS * PROMPTS * RESPONSES // BATCH
"""Updates of the supervised arms: as many replies as the others draw responses."""
ARMS = ("rl", "random", "more_examples", "rejection")
KS = (1, 2, 4, 8, 16, 32, 64)
SHARES = {
    "easy": "answers to questions like the demonstrations that are right",
    "three_large": "answers to test questions with three large counts, as all golds have",
    "three_large_easy": "the same of easy questions, where none is right",
    "right_of_three_large": "answers to test questions with three large counts that are right",
    "three_as_four": "counts of 3 in easy questions that are given as 4 (added after the runs)",
    "leaks": "descriptions that say anything but cells",
}
GUESSING = 4 / 20
"""pass@1 of guessing the large counts by a model that knows the small one.

Once the colour of the small count is known, 20 answers are possible. The small count, 0 to 3,
parts them into 4 groups, and a guess within its group is right in 4 of the 20 cases.
"""
RANDOM = f"{HERE / 'random_reward.py'}:score"
POLICY: dict[str, Any] = {
    "task": TASK, **ROLLOUTS, "max_steps": STEPS, "save_every": 40, "max_tokens": TOKENS,
    "prompts_per_step": PROMPTS, "minibatch_prompts": PROMPTS, "samples_per_prompt": RESPONSES,
}  # fmt: skip


def run_all(output: Path, jobs: int) -> None:
    """Run what is missing: starts, trainings and evaluations, `jobs` at the same time."""

    def begin(name: str) -> None:
        start = int(name.split("/")[0])
        teach(output, name, "tiny", examples(start, 0, START_STEPS * BATCH), START_STEPS, 7e-4)
        measure(output, name)

    def one(name: str) -> None:
        start, arm = name.split("/")
        model = str(output / "models" / start / "start")
        shared = POLICY | {"model": model, "seed": int(start)}
        if arm == "rl":
            train(output, name, "grpo", "tiny/vision_sr1", **shared)
        elif arm == "random":
            train(output, name, "grpo", "tiny/answer_only", **(shared | {"reward": RANDOM}))
        elif arm == "more_examples":
            more = examples(int(start), START_STEPS * BATCH, UPDATES * BATCH)
            teach(output, name, model, more, UPDATES, 1e-4)
        else:
            draws = f"{start}/draws"
            train(output, draws, "grpo", "tiny/answer_only", **(shared | {"lr": 0.0}))
            teach(output, name, model, right_draws(output / "training" / draws), UPDATES, 1e-4)
        measure(output, name)

    in_parallel(begin, [f"{start}/start" for start in STARTS], jobs)
    in_parallel(one, [f"{start}/{arm}" for start in STARTS for arm in ARMS], jobs)


def examples(start: int, first: int, n: int) -> Iterator[dict[str, Any]]:
    """Demonstrations without three large counts; a quarter read a true description, no image."""
    for place in range(first, first + n):
        row = make_tally_row("train", FIRST * start + place, hard=False)
        sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
        if place % 4 == 0:
            messages = reading_messages(sample, row["description"])
            yield conversation(messages, reply_of(sample.answer, think=row["reasoning"]))
        else:
            messages = build_messages(sample, FORMATS["see_think"])
            reply = reply_of(sample.answer, think=row["reasoning"], description=row["description"])
            yield conversation(messages, reply, row["image"])


def right_draws(training: Path) -> Iterator[dict[str, Any]]:
    """The right responses that a start drew to the questions of the reinforcement learning."""
    for drawn in read_journal(training / "rollouts" / "rank-0.jsonl"):
        if drawn["components"]["accuracy"] == 1:
            number = int(drawn["sample_id"].removeprefix("train-"))
            row = make_tally_row("train", number, hard=True)
            sample = to_sample({**row, "image": EncodedImage(data=row["image"])})
            messages = build_messages(sample, FORMATS["see_think"])
            yield conversation(messages, drawn["said"], row["image"])


def measure(output: Path, name: str) -> None:
    """Sample answers to the test questions, and a few to questions like the demonstrations."""
    for task, samples in ((TASK, SAMPLES), (EASY, EASY_SAMPLES)):
        evaluate(output, name, task, "--limit", str(LIMIT), "--num_samples", str(samples),
                 *BY_VLLM, "--gen_kwargs", f"temperature=1,max_tokens={TOKENS}")  # fmt: skip


def names() -> list[str]:
    """All runs."""
    return [f"{start}/{arm}" for start in STARTS for arm in ("start", *ARMS)]


def collect(output: Path) -> dict[str, Any]:
    """Read every run: by test question, how many of its answers are right; shares of answers."""
    drawn = [name for name in names() if name.endswith(("/rl", "/random"))]
    drawn += [f"{start}/draws" for start in STARTS]
    right, shares = {}, {}
    for name in names():
        samples = load_runs(output / "runs" / name).samples
        samples = samples[samples["row"] < LIMIT]
        asked = samples[samples["task"] == TASK]
        right[name] = " ".join(map(str, right_of(name, asked)))
        shares[name] = shares_of(asked, samples[samples["task"] == EASY])
    return {
        "task": TASK,
        "right": right,
        "shares": shares,
        "tokens": {name: tokens_drawn(output, name) for name in drawn},
    }


def right_of(name: str, samples: DataFrame) -> list[int]:
    """Right answers by question, of `SAMPLES` each."""
    by_question = samples.groupby("row")["correct"]
    if len(by_question) != LIMIT or (by_question.count() != SAMPLES).any():
        raise SystemExit(f"{name}: some answers are missing; repeat the run")
    return [int(n) for n in by_question.sum()]


def right_counts(stored: Mapping[str, Any]) -> dict[str, list[int]]:
    """Run -> right answers by question, as `collect` has stored them."""
    return {name: list(map(int, counts.split())) for name, counts in stored["right"].items()}


def shares_of(asked: DataFrame, easy: DataFrame) -> dict[str, float]:
    """What else is reported of the answers to the test questions, and of those to easy ones."""
    shape = large_counts(asked) == 3
    shares = {
        "easy": easy["correct"].mean(),
        "three_large": shape.mean(),
        "three_large_easy": (large_counts(easy) == 3).mean(),
        "right_of_three_large": asked["correct"][shape].mean(),
        "three_as_four": counted_as(easy, "3", "4"),
        "leaks": np.mean([beyond_cells(said) for said in asked["response"]]),
    }
    return {name: round(float(share), 6) for name, share in shares.items()}


def counted_as(samples: DataFrame, gold: str, said: str) -> float:
    """Of the counts that are `gold`, in answers of the right length, the share given as `said`."""
    answers = zip(samples["answer"], samples["extracted"].fillna(""), strict=True)
    both = [(wanted.split(), answer.split()) for wanted, answer in answers]
    pairs = [pair for a, b in both if len(a) == len(b) for pair in zip(a, b, strict=True)]
    given = [b for a, b in pairs if a == gold]
    return given.count(said) / len(given) if given else float("nan")


def large_counts(samples: DataFrame) -> Series:
    """How many large counts each answer has; 0 where no answer was read."""
    return (
        samples["extracted"]
        .fillna("")
        .map(lambda answer: sum(n.isdecimal() and int(n) >= LARGE for n in answer.split()))
    )


def pass_at(right: Sequence[int], k: int) -> float:
    """pass@k over questions, by the unbiased estimator of Chen et al. 2021 (arXiv:2107.03374)."""
    return float(np.mean([1 - comb(SAMPLES - r, k) / comb(SAMPLES, k) for r in right]))


def report(folder: Path) -> str:
    """Write summary.md and pass.png beside verdicts.json, and return the summary."""
    stored = json.loads((folder / "verdicts.json").read_text("utf-8"))
    values = {
        name: {f"pass@{k}": pass_at(right, k) for k in KS}
        for name, right in right_counts(stored).items()
    }
    primary = family([against(values, "rl", "start", "pass@64", STARTS)])
    controls = family(
        against(values, arm, other, endpoint, STARTS)
        for arm, other in (*((a, "start") for a in ARMS[1:]), *(("rl", a) for a in ARMS[1:]))
        for endpoint in ("pass@1", "pass@64")
    )
    draw(values, folder / "pass.png")
    tokens = ", ".join(f"{name} {count:,}" for name, count in stored["tokens"].items())
    parts = [
        "# Does reinforcement learning teach the embedded model what no example showed?",
        f"Printed by `python scripts/experiments/{NAME}.py report`. {LIMIT} test questions of "
        f"`{TASK}`, {SAMPLES} answers each at temperature 1, {len(STARTS)} starts. plan.md says "
        "what was to be compared. Percent: mean over the starts, lowest and highest start in "
        "brackets.",
        markdown(levels_sheet(values, ("start", *ARMS), tuple(f"pass@{k}" for k in KS), STARTS)),
        "\n".join(f"- `{name}`: {text}." for name, text in SHARES.items()),
        markdown(levels_sheet(stored["shares"], ("start", *ARMS), tuple(SHARES), STARTS)),
        f"Tokens drawn in training: {tokens}. The supervised arms draw none themselves.",
        "## Primary: pass@64 of the trained model against its start",
        "Points, with 95 % intervals over the starts.",
        markdown(sheet_of(primary)),
        "A gain in skill is claimed if all of these hold:",
        "\n".join(
            f"- {text}: {'yes' if holds else 'no'}"
            for text, holds in conditions(values, stored["shares"], primary[0]).items()
        ),
        "## Controls",
        markdown(sheet_of(controls)),
        "![pass@k by k](pass.png)",
    ]
    text = "\n\n".join(parts) + "\n"
    write_atomic(folder / "summary.md", text)
    return text


def conditions(
    values: Values, shares: Mapping[str, Mapping[str, float]], primary: Contrast
) -> dict[str, bool]:
    """What plan.md asks for before a gain in skill is claimed."""
    ours = [values[f"{start}/rl"] for start in STARTS]
    random = [values[f"{start}/random"] for start in STARTS]
    lost = [shares[f"{s}/start"]["easy"] - shares[f"{s}/rl"]["easy"] for s in STARTS]
    return {
        "the difference is positive, with p below 0.05": primary.low > 0,
        "all starts agree": min(primary.by_start) > 0,
        "`rl` exceeds `random` on pass@64 in all starts": all(
            a["pass@64"] > b["pass@64"] for a, b in zip(ours, random, strict=True)
        ),
        f"pass@1 of `rl` is above {100 * GUESSING:.0f} % in all starts": all(
            one["pass@1"] > GUESSING for one in ours
        ),
        "`rl` loses less than 5 points on easy questions in all starts": max(lost) < 0.05,
    }


def draw(values: Values, path: Path) -> None:
    """Draw pass@k by k: a thin line per start, a thick one for their mean."""
    from matplotlib.figure import Figure

    with plot_style():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot()
        for number, arm in enumerate(("start", *ARMS)):
            lines = [[100 * values[f"{s}/{arm}"][f"pass@{k}"] for k in KS] for s in STARTS]
            for line in lines:
                axes.plot(KS, line, color=f"C{number}", lw=0.5, alpha=0.5)
            axes.plot(KS, np.mean(lines, axis=0), f"C{number}", lw=2, label=arm)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="k", ylabel="pass@k, %", xticks=KS, xticklabels=KS, ylim=(0, 100))
        axes.legend()
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(run_or_report(NAME, run_all, collect, report))
