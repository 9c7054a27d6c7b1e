"""Overall numbers of benchmarks that consist of several tasks (`task.Group`)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from vsr1_bench.harness import harness_of
from vsr1_bench.registry import load_registry
from vsr1_bench.scoring import score_responses
from vsr1_bench.scoring.coverage import slice_note
from vsr1_bench.scoring.join import join_responses
from vsr1_bench.scoring.metrics import Response
from vsr1_bench.scoring.seeing import pooled_perception, score_notes
from vsr1_bench.store.judge_names import LABELS, bare, label_file, name_in_run
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec, canonical_json
from vsr1_bench.task import Group, GroupMean, Metric, Task

_TASK = "task"

Member = tuple[RunFolder, RunSpec]


def score_groups(
    runs: Sequence[RunFolder],
    include_path: Sequence[str] = (),
    *,
    judges: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Score every group whose tasks were run with the same settings.

    The settings are model, sampling, prompt, variant, judge and limit. With `judges`, only scores
    by these judges count. If each task was labelled in a separate file, the group's judge is
    `labels`.

    A question that several tasks share (as in MMMU-Pro's three sets) forms one cluster. A mean is
    omitted if one of its tasks was not run. Metrics need all tasks of the group.

    Returns:
        Documents in the form of `scoring.runs.score_run`, `task` being the group's name.
    """
    return [document for document, _ in score_members(runs, include_path, judges=judges)]


def score_members(
    runs: Sequence[RunFolder],
    include_path: Sequence[str] = (),
    *,
    judges: Collection[str] | None = None,
) -> list[tuple[dict[str, Any], tuple[RunFolder, ...]]]:
    """Like `score_groups`, but return each document together with the runs it was computed from."""
    registry = load_registry(include_path)
    wanted = {name for group in registry.groups.values() for name in group.tasks}
    judged: list[tuple[RunFolder, RunSpec, str]] = []
    for run in runs:
        spec = run.spec()
        if spec.task.name in wanted:
            names = [document["judge"] for document in run.scores()]
            judged += [(run, spec, name) for name in names if judges is None or name in judges]
            if judges is None or LABELS in map(bare, judges):
                file = label_file(run.judged())
                judged += [(run, spec, LABELS)] if file in names and file != LABELS else []
    documents: list[tuple[dict[str, Any], tuple[RunFolder, ...]]] = []
    for group in registry.groups.values():
        clusters = {registry.tasks[name].cluster for name in group.tasks}
        cluster = clusters.pop() if len(clusters) == 1 else None
        for judge, members in _alike(group, judged):
            ready = [m for m in group.means if all(name in members for name in m.tasks)]
            whole = bool(group.metrics) and all(name in members for name in group.tasks)
            if (ready or whole) and not _one_file(judge, members):
                documents.append(_score(group, ready, members, judge, cluster, whole, include_path))
    others = {h.name: h for run in runs if (h := harness_of(run.spec().task.name)) is not None}
    for harness in others.values():
        documents += harness.groups(runs, judges)
    return [(document, members) for document, members in documents if document["metrics"]]


def _alike(
    group: Group, judged: Sequence[tuple[RunFolder, RunSpec, str]]
) -> list[tuple[str, dict[str, Member]]]:
    """Match a group's runs: judge, and task name -> run."""
    found: dict[str, tuple[str, dict[str, Member]]] = {}
    unclear = set()
    for run, spec, judge in judged:
        if spec.task.name not in group.tasks:
            continue
        setting = _setting(group, spec, judge, run.meta().get("limit"))
        _, members = found.setdefault(setting, (judge, {}))
        # If a task has two runs (two imports, two copies of the rows), it is not known which
        # one belongs to the group.
        if spec.task.name in members:
            unclear.add(setting)
        members[spec.task.name] = (run, spec)
    return [pair for setting, pair in found.items() if setting not in unclear]


def _one_file(judge: str, members: dict[str, Member]) -> bool:
    """Whether all were labelled in one file. Such a file is a judge under its own name."""
    files = {label_file(run.judged()) for run, _ in members.values()}
    return judge == LABELS and len(files) == 1 and LABELS not in files


def _setting(group: Group, spec: RunSpec, judge: str, limit: int | None) -> str:
    """The settings that the runs of a group must share.

    The fingerprint of imported responses is that of their file, so it differs between tasks. If
    the tasks are splits of one benchmark, the model's name is compared instead.
    """
    imported = spec.sampling is None and bool(group.metrics)
    model = spec.model.id if imported else spec.model.model_dump()
    prompt = [spec.prompt.format, spec.prompt.system]
    sampling = spec.sampling.model_dump() if spec.sampling else None
    selection = [spec.selection.model_dump()] if spec.selection else []
    return canonical_json(
        [model, spec.engine, sampling, prompt, spec.variant, judge, limit, *selection]
    )


def _score(
    group: Group,
    means: Sequence[GroupMean],
    members: dict[str, Member],
    judge_name: str,
    cluster: str | None,
    whole: bool,
    include_path: Sequence[str],
) -> tuple[dict[str, Any], tuple[RunFolder, ...]]:
    """Score a group; `whole` = also compute its metrics over all tasks as one set."""
    names = {name for mean in means for name in mean.tasks} | (set(group.tasks) if whole else set())
    responses: dict[str, list[Response]] = {}
    for name in sorted(names):
        run, _ = members[name]
        responses[name] = join_responses(run, _verdicts(run, judge_name))
    pooled = [r for found in responses.values() for r in found]
    # Another copy of the data set may lack the groups.
    known = whole and all(_has_groups(metric, pooled) for metric in group.metrics)
    asked = group.metrics if known else ()
    score = score_responses(pooled, asked, cluster=cluster, per_sample=1)
    metrics = {name: value for name, value in score.metrics.items() if asked}
    for mean in means:
        kind = Metric(mean.name) if mean.weighted else Metric(mean.name, "mean_by", by=(_TASK,))
        chosen = [
            msgspec.structs.replace(r, groups={_TASK: name})
            for name in mean.tasks
            for r in responses[name]
        ]
        one = score_responses(chosen, (kind,), cluster=None, per_sample=1)
        metrics[mean.name] = one.metrics[mean.name]
    journals = {name: _verdicts(members[name][0], judge_name) for name in responses}
    pooled_runs = {name: (members[name][0], journals[name]) for name in responses}
    perception = pooled_perception(pooled_runs, cluster)
    specs = [members[name][1] for name in responses]
    document = replace(score, metrics=metrics, by=score.by if asked else {}).document()
    # A member with too few scored responses must not go unnoticed in the pooled rate.
    parts = (score_responses(found, (), cluster=None, per_sample=1) for found in responses.values())
    document["rates"]["ranked"] = all(part.rates.ranked for part in parts)
    if perception is not None:
        document["metrics"] |= perception["metrics"]
        document["perception"] = perception
    tasks = load_registry(include_path).tasks
    notes = {name: slice_note(members[name][0], tasks.get(name)) for name in responses}
    scored = {
        "schema": 1,
        "model": specs[0].model.id,
        "task": group.name,
        "version": "/".join(str(_version(spec, tasks)) for spec in specs),
        "judge": judge_name,
        "prompt": specs[0].prompt.format,
        "variant": specs[0].variant,
        "spec_hash": hashlib.sha256("".join(s.digest() for s in specs).encode()).hexdigest(),
        **document,
        "notes": score_notes(document, [f"{name}: {n}" for name, n in notes.items() if n]),
    }
    return scored, tuple(members[name][0] for name in responses)


def _version(spec: RunSpec, tasks: Mapping[str, Task]) -> int | str:
    task = tasks.get(spec.task.name)
    return task.version if task and task.spec_version == spec.task.version else spec.task.version


def _verdicts(run: RunFolder, judge: str) -> Path:
    return run.verdicts(name_in_run(judge, run.judged()))


def _has_groups(metric: Metric, responses: Sequence[Response]) -> bool:
    needed = {*metric.by, *(name for name, _ in metric.only)}
    return all(needed <= response.groups.keys() for response in responses if response.made)
