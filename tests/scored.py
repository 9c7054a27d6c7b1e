"""Stored, judged and scored runs of a task made for tests, without a model or a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vsr1_bench.records import Generation, Judgment, Sample, Verdict
from vsr1_bench.scoring.runs import score_run
from vsr1_bench.store.lines import record_of_sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import DataSpec, ModelSpec, PromptSpec, RunSpec, SamplingSpec, TaskSpec

TASKS = """
from vsr1_bench.records import Sample
from vsr1_bench.task import Group, GroupMean, Metric, Procedural, Task


def _task(name, cluster=None, metrics=(Metric("accuracy"),)):
    return Task(
        name=name,
        version=1,
        source=Procedural(lambda n: {"n": n}, 1000, "1"),
        to_sample=lambda row: Sample(str(row["n"]), ("?",), "A", "choice"),
        answer_type="choice",
        license="Apache-2.0",
        description="for tests of tables",
        judge="string_match",
        metrics=metrics,
        cluster=cluster,
    )


ALPHA = _task("alpha")
BETA = _task("beta")
FIGURES = _task("figures", cluster="figure")
GRADED = _task("graded", metrics=(Metric("mean_grade", "graded_mean"),))
PAIR = Group("pair", ("alpha", "beta"), (GroupMean("both", ("alpha", "beta"), True, "pooled"),))
"""


def tasks_folder(root: Path) -> Path:
    """Write tasks `alpha`, `beta` (group `pair`), `figures` (clustered) and `graded`."""
    folder = root / "tables_plugins"
    folder.mkdir(exist_ok=True)
    (folder / "tables.py").write_text(TASKS, "utf-8")
    return folder


def spec_of(model: str, task: str, prompt: str = "cot", **changes: Any) -> RunSpec:
    sampling = SamplingSpec(
        temperature=0, top_p=1, top_k=-1, min_p=0, repetition_penalty=1, max_tokens=9, stop=(),
        seed=changes.pop("seed", 0), n=changes.pop("n", 1), min_pixels=1, max_pixels=2,
    )  # fmt: skip
    return RunSpec(
        model=ModelSpec(id=model, fingerprint=changes.pop("fingerprint", model)),
        sampling=sampling,
        prompt=PromptSpec(format=prompt, hash=f"of {prompt}", chat_template_hash=None, system=None),
        task=TaskSpec(name=task, version=1),
        data=DataSpec(id="d", config=None, split="s", revision=None, fingerprint="0"),
        **changes,
    )


def stored_run(
    root: Path,
    spec: RunSpec,
    verdicts: Sequence[float | None],
    *,
    judge: str = "string_match",
    groups: Sequence[Mapping[str, str]] | None = None,
    limit: int | None = None,
    score: bool = True,
    identity: str = "0" * 8,
    footnote: str | None = None,
) -> RunFolder:
    """Store a judged run: one verdict a response, in order (None = unscored)."""
    run = RunFolder.of(root, spec)
    n = spec.responses_per_sample
    samples = len(verdicts) // n
    facts = {"command": "", "limit": limit, "versions": {"vsr1-bench": "0.1.0"}}
    run.write_meta(spec, samples, facts)
    named = [dict(groups[i]) if groups else {} for i in range(samples)]
    asked = [
        Sample(f"q{i}", (f"question {i}",), "A", "choice", choices=("x", "y"), groups=named[i])
        for i in range(samples)
    ]
    made, judged = [], []
    for place, value in enumerate(verdicts):
        i, index = divmod(place, n)
        made.append(asdict(Generation(f"k{place}", f"q{i}", index, "text", "stop")))
        grade = None if value in (None, 0, 1) else value
        outcome = "unscored" if value is None else "correct" if value else "incorrect"
        verdict = Verdict(outcome, extracted="A" if value else "B", score=grade)  # type: ignore[arg-type]
        judged.append(asdict(Judgment(f"k{place}", f"q{i}", index, verdict)))
    _lines(run.path / "samples.jsonl", [record_of_sample(s, i) for i, s in enumerate(asked)])
    _lines(run.path / "generations.jsonl", made)
    path = run.judgment_path(judge, identity)
    path.parent.mkdir(exist_ok=True)
    _lines(path, judged)
    if score:
        document = score_run(run, judge, [str(tasks_folder(root.parent))])
        if footnote:
            run.write_scores(judge, {**document, "footnote": footnote})
    return run


def _lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "ascii")
