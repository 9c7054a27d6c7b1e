"""Test whether the self-reward keeps the embedded model looking where a language prior helps.

    python scripts/experiments/prior.py run [--jobs 2]   # an hour on two cores; resumes
    python scripts/experiments/prior.py report           # tables and figure from verdicts.json

`run` trains every objective with every seed from one weaker cold start on `demo_prior`, whose
wording gives the answer away in training and says nothing in test, evaluates all of them on the
test rows, writes what every table rests on to results/tiny/prior/verdicts.json, and reports.
What is compared, and how, was written down before the runs: results/tiny/prior/plan.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stages import evaluate, in_parallel, mark, run_or_report, train

from vsr1_bench._util.look import plot_style
from vsr1_bench.api import load_runs
from vsr1_bench.leaderboard.rendering import markdown
from vsr1_bench.leaderboard.sheet import Sheet
from vsr1_bench.scoring.join import join_readings
from vsr1_bench.scoring.metrics import Response, compute
from vsr1_bench.scoring.paired import Paired, holm, paired_difference
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.store.journal import read_journal, write_atomic
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Metric
from vsr1_bench.tiny.priors import suggested
from vsr1_bench.tiny.scenes import make_row

START, ROUND = "tiny/prior_start", "tiny/prior"
TASK = "demo_prior"
OBJECTIVES = ("answer_only", "summed", "multi_advantage", "decoupled")
SEEDS = (1, 2, 3)
PRIMARY = ("accuracy", "lsr", "self_contained")
ENDPOINTS = {
    "accuracy": "right, of all samples",
    "lsr": "right on a description that does not suffice, of all samples",
    "self_contained": "the model itself reads the gold answer off the description, of all samples",
    "follows": "answers what the opening stands for, of the samples where that is not the gold",
    "blind": "right without the image, of all samples",
}
CURVES = ("reward/accuracy", "reward/description_accuracy", "entropy")

Flags = NDArray[np.float64]
"""A run's endpoint by sample, (N,): 1 or 0; NaN where a sample does not count."""
Runs = Mapping[str, Mapping[str, Flags]]
"""Run (`start`, `summed/1`) -> endpoint -> flags."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two objectives on one endpoint; differences are second minus first."""

    first: str
    second: str
    endpoint: str
    paired: Paired
    """Of the samples' means over the seeds."""
    by_seed: tuple[float, ...]
    seeds_p: float | None
    """Of a paired t test over the seeds alone; None if they do not differ."""
    holm: float = 1.0
    """The samples' p value, adjusted within its family."""


# -- the runs -----------------------------------------------------------------------------------


def names() -> list[str]:
    """All runs after the start."""
    return [f"{objective}/{seed}" for seed in SEEDS for objective in OBJECTIVES]


def run_all(output: Path, jobs: int) -> None:
    """Run what is missing: the start, every training and evaluation, `jobs` at the same time."""

    def begin(name: str) -> None:
        train(output, name, "sft", START)
        measure(output, name)

    def one(name: str) -> None:
        objective, seed = name.split("/")
        train(output, name, "grpo", ROUND, model=str(output / "models" / "start"),
              objective=objective, seed=int(seed))  # fmt: skip
        measure(output, name)

    in_parallel(begin, ["start"], 1)
    in_parallel(one, names(), jobs)


def measure(output: Path, name: str) -> None:
    """Both passes and a blind run on the test rows; only what is missing is generated."""
    evaluate(output, name, TASK, "--perception", "--blind", "drop")


# -- what the tables rest on --------------------------------------------------------------------


def collect(output: Path) -> dict[str, Any]:
    """Read every run: one character per sample and endpoint (1, 0, or `-` = does not count)."""
    flags = {name: flags_of(output / "runs" / name) for name in ("start", *names())}
    curves = {}
    for name in names():
        steps = [s for s in read_journal(output / "training" / name / "metrics.jsonl") if s["step"]]
        curves[name] = {c: [round(s[c], 4) for s in steps if c in s] for c in CURVES}
    return {"task": TASK, "runs": flags, "curves": curves}


def flags_of(folder: Path) -> dict[str, str]:
    """The endpoints of one evaluation, by sample, in the order of the rows."""
    stored = load_runs(folder)
    by_variant = {RunFolder(path).spec().variant: RunFolder(path) for path in stored.runs}
    run = by_variant["none"]
    (verdicts,) = run.judged().values()
    readings = {seen.sample_id: seen for seen in join_readings(run, verdicts, readers_of(run)[0])}
    answers = stored.samples.set_index(["variant", "sample_id"])
    seeing, blind = answers.loc["none"], answers.loc["drop"]
    flags: dict[str, str] = dict.fromkeys(ENDPOINTS, "")
    for place, name in enumerate(readings):
        row = make_row("test", place)
        if row["id"] != name:
            raise SystemExit(f"{folder}: row {place} is {name}, wanted {row['id']}")
        seen, hint = readings[name], suggested("test", place, row["kind"], row["answer"])
        misled = hint != row["answer"]
        flags["accuracy"] += mark(seen.correct)
        flags["lsr"] += mark(seen.shortcut if seen.counted else None)
        flags["self_contained"] += mark(
            bool(seen.described and seen.sufficient) if seen.counted else None
        )
        flags["follows"] += mark(seeing.loc[name, "extracted"] == hint) if misled else "-"
        guessed = blind.loc[name, "correct"]
        flags["blind"] += mark(None if np.isnan(guessed) else bool(guessed))
    return flags


def read_flags(stored: Mapping[str, Mapping[str, str]]) -> Runs:
    """The other way: characters to arrays."""
    return {
        name: {
            endpoint: np.array([np.nan if c == "-" else float(c) for c in text])
            for endpoint, text in one.items()
        }
        for name, one in stored.items()
    }


# -- the report ---------------------------------------------------------------------------------


def contrast(runs: Runs, first: str, second: str, endpoint: str) -> Contrast:
    """Compare two objectives: samples paired, each sample's mean over the seeds."""
    from scipy import stats

    a, b = (
        np.stack([runs[f"{objective}/{seed}"][endpoint] for seed in SEEDS])
        for objective in (first, second)
    )  # (S, N)
    counted = ~np.isnan(a + b).any(axis=0)
    a, b = a[:, counted], b[:, counted]
    by_seed = (b - a).mean(axis=1)
    return Contrast(
        first,
        second,
        endpoint,
        paired_difference(a.mean(axis=0), b.mean(axis=0)),
        tuple(by_seed.tolist()),
        float(stats.ttest_rel(b.mean(axis=1), a.mean(axis=1)).pvalue) if np.ptp(by_seed) else None,
    )


def family(together: Sequence[Contrast]) -> list[Contrast]:
    """Adjust the p values of contrasts that are made together."""
    adjusted = holm([one.paired.p_value for one in together])
    return [
        Contrast(c.first, c.second, c.endpoint, c.paired, c.by_seed, c.seeds_p, p)
        for c, p in zip(together, adjusted, strict=True)
    ]


def levels(runs: Runs) -> Sheet:
    """Every endpoint of the start and of each objective, over all seeds."""
    rows = []
    for name in ("start", *OBJECTIVES):
        members = [name] if name in runs else [f"{name}/{seed}" for seed in SEEDS]
        cells = []
        for endpoint in ENDPOINTS:
            values = [
                Response(str(place), {}, None if np.isnan(flag) else float(flag))
                for member in members
                for place, flag in enumerate(runs[member][endpoint])
            ]
            metric = compute(Metric("accuracy"), [v for v in values if v.correct is not None], None)
            cells.append(percent(metric.value, metric.low, metric.high))
        rows.append((name, *cells))
    return Sheet(("model", *ENDPOINTS), tuple(rows))


def percent(value: float | None, low: float | None, high: float | None) -> str:
    """A share and its interval, in percent."""
    if value is None or low is None or high is None:
        return "–"
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def contrasts(compared: Sequence[Contrast]) -> Sheet:
    """Differences in points, second minus first."""
    rows = [
        (
            f"{c.second} - {c.first}",
            c.endpoint,
            percent(c.paired.difference, c.paired.low, c.paired.high),
            " ".join(f"{100 * d:+.1f}" for d in c.by_seed),
            f"{c.paired.p_value:.2g}",
            f"{c.holm:.2g}",
            "–" if c.seeds_p is None else f"{c.seeds_p:.2g}",
        )
        for c in compared
    ]
    headings = ("contrast", "endpoint", "difference", "by seed", "p", "p (Holm)", "p over seeds")
    return Sheet(headings, tuple(rows), numbers=frozenset({"by seed"}))


def report(folder: Path) -> str:
    """Write summary.md and curves.png beside verdicts.json, and return the summary."""
    stored = json.loads((folder / "verdicts.json").read_text("utf-8"))
    runs = read_flags(stored["runs"])
    primary = family([contrast(runs, "answer_only", "summed", e) for e in PRIMARY])
    rest = [
        contrast(runs, "answer_only", objective, endpoint)
        for objective in OBJECTIVES[1:]
        for endpoint in ENDPOINTS
        if (objective, endpoint) not in {("summed", e) for e in PRIMARY}
    ]
    draw(stored["curves"], folder / "curves.png")
    n = len(next(iter(runs.values()))["accuracy"])
    parts = [
        "# Four objectives where a language prior pays in training",
        f"Printed by `python scripts/experiments/prior.py report`. {n} test rows of `{TASK}`, "
        f"{len(SEEDS)} seeds an objective, one start. Percent, with 95 % intervals over samples "
        "(each sample's mean over the seeds); plan.md says what was to be compared.",
        "\n".join(f"- `{name}`: {text}." for name, text in ENDPOINTS.items()),
        markdown(levels(runs)),
        "## Primary: summed against answer_only",
        markdown(contrasts(primary)),
        "## Exploratory: the rest",
        markdown(contrasts(family(rest))),
        "## Training",
        "![Rewards and entropy of the rollouts](curves.png)",
    ]
    text = "\n\n".join(parts) + "\n"
    write_atomic(folder / "summary.md", text)
    return text


def draw(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw the curves of the rollouts: a thin line per seed, a thick one for their mean."""
    from matplotlib.figure import Figure

    with plot_style():
        figure = Figure(figsize=(4.6 * len(CURVES), 3.4), layout="constrained")
        for place, curve in enumerate(CURVES, start=1):
            axes = figure.add_subplot(1, len(CURVES), place)
            for number, objective in enumerate(OBJECTIVES):
                runs = (curves[f"{objective}/{seed}"].get(curve) for seed in SEEDS)
                lines = [line for line in runs if line]
                for line in lines:
                    axes.plot(range(1, len(line) + 1), line, color=f"C{number}", lw=0.5, alpha=0.5)
                if lines:
                    mean = np.mean(lines, axis=0)
                    axes.plot(range(1, len(mean) + 1), mean, f"C{number}", lw=2, label=objective)
            axes.set(title=curve, xlabel="step")
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower left", ncols=len(OBJECTIVES))
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(run_or_report("prior", run_all, collect, report))
