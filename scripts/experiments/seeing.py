"""Test whether rewarding the description teaches the embedded model to see.

    python scripts/experiments/seeing.py run [--jobs 2]   # an hour and a half; resumes
    python scripts/experiments/seeing.py report           # tables from verdicts.json

`run` trains every arm from every start on `demo_hard`, evaluates all of them on the test rows,
writes what every table rests on to results/tiny/seeing/verdicts.json, and reports. What is
compared, and how, was written down before the runs: results/tiny/seeing/plan.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import perceived
from by_start import against, family, levels_sheet, sheet_of, tokens_sentence
from perceived import ENDPOINTS
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

from vsr1_bench.api import load_runs
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.store.journal import write_atomic
from vsr1_bench.store.run_folder import RunFolder

NAME, TASK, LIMIT = "seeing", "demo_hard", 500
STARTS = (1, 2, 3, 4, 5)
STEPS, LONG = 20, 27
REFERENCE = "answer_only"
RANDOM = f"{HERE / 'random_reward.py'}:score"
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "answer_only": ("tiny/answer_only", {}),
    "summed": ("tiny/vision_sr1", {}),
    "multi_advantage": ("tiny/vision_sr1", {"objective": "multi_advantage"}),
    "decoupled": ("tiny/decoupled", {"credit": "description"}),
    "moca": ("tiny/moca", {}),
    "papo": ("tiny/papo", {}),
    "random": ("tiny/answer_only", {"reward": RANDOM}),
    "answer_only_long": ("tiny/answer_only", {"max_steps": LONG}),
}
"""Arm -> recipe and settings."""


def run_all(output: Path, jobs: int) -> None:
    """Run what is missing: starts, trainings and evaluations, `jobs` at the same time."""

    def begin(name: str) -> None:
        train(output, name, "sft", "tiny/weak_start", dataset="tiny/mixture", lr=3e-4,
              schedule_steps=50, seed=int(name.split("/")[0]))  # fmt: skip
        measure(output, name)

    def one(name: str) -> None:
        start, arm = name.split("/")
        recipe, settings = ARMS[arm]
        shared = {"task": TASK, **ROLLOUTS, "lr": 1e-4, "max_steps": STEPS, "save_every": 40,
                  "prompts_per_step": 16, "minibatch_prompts": 16, "seed": int(start),
                  "model": str(output / "models" / start / "start")}  # fmt: skip
        train(output, name, "grpo", recipe, **(shared | settings))
        measure(output, name)

    in_parallel(begin, [f"{start}/start" for start in STARTS], jobs)
    in_parallel(one, [f"{start}/{arm}" for start in STARTS for arm in ARMS], jobs)


def measure(output: Path, name: str) -> None:
    """Evaluate a model, both passes."""
    evaluate(output, name, TASK, "--limit", str(LIMIT), "--perception", *BY_VLLM,
             "--gen_kwargs", "max_tokens=160")  # fmt: skip


def names() -> list[str]:
    """All runs."""
    return [f"{start}/{arm}" for start in STARTS for arm in ("start", *ARMS)]


def collect(output: Path) -> dict[str, Any]:
    """Read every run: one character per sample and endpoint."""
    return {
        "task": TASK,
        "runs": {name: flags_of(output / "runs" / name) for name in names()},
        "tokens": {name: tokens_drawn(output, name) for name in names() if "start" not in name},
    }


def flags_of(folder: Path) -> dict[str, str]:
    """The endpoints of one evaluation, by sample."""
    stored = load_runs(folder)
    responses = dict(zip(stored.samples["sample_id"], stored.samples["response"], strict=True))
    return perceived.flags_of(RunFolder(stored.runs[0]), responses)


def report(folder: Path) -> str:
    """Write summary.md beside verdicts.json, and return it."""
    stored = json.loads((folder / "verdicts.json").read_text("utf-8"))
    values = perceived.means(stored["runs"])
    others = [arm for arm in ARMS if arm != REFERENCE]
    primary = family(against(values, arm, REFERENCE, "cells", STARTS) for arm in others)
    rest = family(
        against(values, arm, REFERENCE, endpoint, STARTS)
        for arm in others
        for endpoint in ENDPOINTS
        if endpoint != "cells"
    )
    change = family(against(values, arm, "start", "cells", STARTS) for arm in ARMS)
    parts = [
        "# Does rewarding the description teach the embedded model to see?",
        f"Printed by `python scripts/experiments/{NAME}.py report`. {LIMIT} test rows of `{TASK}`, "
        f"{len(STARTS)} starts. plan.md says what was to be compared. Percent: mean over the "
        "starts, lowest and highest start in brackets.",
        "\n".join(f"- `{name}`: {text}." for name, text in ENDPOINTS.items()),
        markdown(levels_sheet(values, ("start", *ARMS), tuple(ENDPOINTS), STARTS)),
        tokens_sentence(stored["tokens"], ARMS, STARTS),
        "## Primary: cells, each arm against the answer reward alone",
        "Points, with 95 % intervals over the starts.",
        markdown(sheet_of(primary)),
        "## Exploratory: cells, each arm against its start",
        markdown(sheet_of(change)),
        "## Exploratory: the other endpoints",
        markdown(sheet_of(rest)),
    ]
    text = "\n\n".join(parts) + "\n"
    write_atomic(folder / "summary.md", text)
    return text


if __name__ == "__main__":
    sys.exit(run_or_report(NAME, run_all, collect, report))
