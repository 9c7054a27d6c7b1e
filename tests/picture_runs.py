"""Tasks with pictures, scripts for both passes, and runs of them without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli import script

from vsr1_bench.pipeline.plan import RunOptions
from vsr1_bench.pipeline.run import generate
from vsr1_bench.pipeline.stream import TaskRun
from vsr1_bench.scoring.runs import judge_and_score

PLUGIN = '''
"""How many? A picture of one grey each, every third one the same; two questions a figure."""

from functools import partial

from vsr1_bench.records import ImagePlace, Sample
from vsr1_bench.task import Group, GroupMean, Procedural, Task
from vsr1_bench.tiny.png import palette_png

WIDE, HIGH = 40, 30


def make(n):
    shade = 0 if n % 3 == 0 else n
    return {"n": n, "image": palette_png(bytes(WIDE * HIGH), WIDE, [(shade, shade, 0)])}


def to_sample(row):
    n = row["n"]
    return Sample(
        id=f"p{n}",
        question=("In ", ImagePlace(0), f" count {n}."),
        answer=str(n),
        answer_type="number",
        images=(row["image"],),
        groups={"kind": "odd" if n % 2 else "even", "figure": f"f{n // 2}"},
    )


def text_or_picture(row):
    n = row["n"]
    if n % 2 == 0:
        return to_sample(row)
    return Sample(id=f"p{n}", question=(f"Count {n}.",), answer=str(n), answer_type="number")


def task(name, n, mapper, cluster):
    return Task(
        name=name, version=1, source=Procedural(make, n, name, images=("image",)),
        to_sample=mapper, answer_type="number", license="Apache-2.0", description="for tests",
        cluster=cluster,
    )


PICTURES = task("pictures", 40, to_sample, None)
FIGURES = task("figures", 40, to_sample, "figure")
MIXED = task("mixed", 8, text_or_picture, None)
NAMES = (PICTURES.name, FIGURES.name)
BOTH = Group("both", NAMES, (GroupMean("pooled", NAMES, True, "for tests"),))
'''


def plugins(folder: Path) -> Path:
    """Write the tasks `pictures`, `figures` (clustered) and `mixed` (half of it text alone)."""
    path = folder / "plugins"
    path.mkdir(exist_ok=True)
    (path / "pictures.py").write_text(PLUGIN, "utf-8")
    return path


def answer(n: int, *, right: bool, description: str | None = "a scene") -> dict[str, Any]:
    """The first pass of sample n."""
    told = "" if description is None else f"<description>{description} {n}</description>"
    said = n if right else 900 + n
    return {"id": f"p{n}", "response": f"{told}<think>t</think>\\boxed{{{said}}}"}


def reading(n: int, *, right: bool) -> dict[str, Any]:
    """The second pass of sample n."""
    said = n if right else 800 + n
    line = {"id": f"p{n}", "stage": "reading", "response": f"<think>r</think>\\boxed{{{said}}}"}
    return line


def both(n: int, *, sufficient: bool, right: bool) -> list[dict[str, Any]]:
    return [answer(n, right=right), reading(n, right=sufficient)]


def options(folder: Path, lines: list[dict[str, Any]], n: int, **more: Any) -> RunOptions:
    """A run of the first n samples from a script; another script is still the same model."""
    fields: dict[str, Any] = {
        "model": "m",
        "tasks": "pictures",
        "output_path": folder / "runs",
        "backend": "scripted",
        "model_args": {"script": str(script(folder / "script.jsonl", *lines))},
        "limit": n,
        "include_path": (str(plugins(folder)),),
        "progress": False,
        "perception": "self",
    }
    return RunOptions(**(fields | more))


def score(runs: list[TaskRun], folder: Path) -> dict[str, dict[str, Any]]:
    """Judge and score the runs of one task, blind ones first; variant -> document."""
    paths = (str(plugins(folder)),)
    found = {}
    for run in sorted(runs, key=lambda run: not run.blind):
        found[run.spec.variant] = judge_and_score(run.folder, None, paths, progress=False)
    return found


def run_and_score(
    folder: Path, lines: list[dict[str, Any]], n: int, **more: Any
) -> dict[str, dict[str, Any]]:
    return score(generate(options(folder, lines, n, **more)), folder)
