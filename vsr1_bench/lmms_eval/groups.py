"""Overall numbers of lmms-eval's groups, from the stored scores of their tasks.

The arithmetic is that of `lmms_eval.evaluator_utils.consolidate_group_results`. It needs only
numbers, so tables show groups without lmms-eval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vsr1_bench.lmms_eval import NAME
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import RunSpec, canonical_json

Member = tuple[RunSpec, dict[str, Any], RunFolder]


def score_groups(
    runs: Sequence[RunFolder], judges: Collection[str] | None
) -> list[tuple[dict[str, Any], tuple[RunFolder, ...]]]:
    """Score every group whose tasks were all run with the same settings.

    Returns:
        Score documents as of `scoring.runs.score_run`, each with the runs behind it.
    """
    if judges is not None and NAME not in judges:
        return []
    settings: dict[str, dict[str, list[Member]]] = {}
    for run in runs:
        spec = run.spec()
        top, slash, member = spec.task.name.removeprefix(f"{NAME}/").partition("/")
        if not (slash and spec.task.name.startswith(f"{NAME}/")):
            continue
        for document in run.scores():
            if document["judge"] == NAME:
                facts = run.meta()
                setting = [
                    spec.model.model_dump(),
                    spec.engine,
                    spec.prompt.system,
                    facts.get("limit"),
                    # Set by the run for all members; each member decides its other sampling.
                    facts.get("gen_kwargs") or {},
                    document[NAME]["package"],
                    top,
                ]
                members = settings.setdefault(canonical_json(setting), {})
                members.setdefault(member, []).append((spec, document, run))
    documents = []
    for members in settings.values():
        # With two runs of one task it is unknown which belongs to the group.
        clear = {
            name: runs_of_task[0]
            for name, runs_of_task in members.items()
            if len(runs_of_task) == 1
        }
        groups = {
            group["name"]: group for _, document, _ in clear.values() for group in _groups(document)
        }
        documents += [
            (
                _score(group, [clear[name] for name in group["members"]]),
                tuple(clear[name][2] for name in group["members"]),
            )
            for group in groups.values()
            if all(name in clear for name in group["members"])
        ]
    return documents


def _groups(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(document[NAME]["groups"])


def _score(group: Mapping[str, Any], members: Sequence[Member]) -> dict[str, Any]:
    specs, documents = [m[0] for m in members], [m[1] for m in members]
    totals = [document[NAME] for document in documents]
    names = dict.fromkeys(name for one in totals for name in one["values"])
    metrics, callables = {}, False
    for name in names:
        having = [one for one in totals if name in one["values"]]
        for wanted in group["metrics"]:
            if wanted["metric"] not in name:
                continue
            if not wanted["mean"]:
                callables = True
                continue
            metrics[name.removesuffix(",none")] = {
                "value": _mean(
                    [one["values"][name] for one in having],
                    [one["samples"] if wanted["weight_by_size"] else 1 for one in having],
                ),
                "low": None,
                "high": None,
                "n": sum(one["samples"] for one in having),
                "unit": "own",
            }
    footnote = (
        "has metrics with an aggregation function of its own, which are not computed"
        if callables
        else None
    )
    version = group["version"]
    return {
        "schema": 1,
        "model": specs[0].model.id,
        "task": f"{NAME}/{group['name']}",
        "version": f"{'–' if version is None else version} (lmms-eval {totals[0]['package']})",
        "judge": NAME,
        "prompt": specs[0].prompt.format,
        "variant": specs[0].variant,
        "spec_hash": hashlib.sha256("".join(s.digest() for s in specs).encode()).hexdigest(),
        "footnote": footnote,
        "n": sum(document["n"] for document in documents),
        "metrics": metrics,
        "rates": _rates([document["rates"] for document in documents]),
        "by": {},
    }


def _mean(values: Sequence[float | None], sizes: Sequence[int]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not sum(sizes):
        return None
    return sum([value * size for value, size in zip(known, sizes, strict=True)]) / sum(sizes)


def _rates(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total = sum(part["total"] for part in parts)
    shares = {
        name: sum(part[name] * part["total"] for part in parts) / total if total else 0.0
        for name in ("unparsed", "truncated", "failed")
    }
    return {
        "total": total,
        "scored": sum(part["scored"] for part in parts),
        **shares,
        "ranked": all(part["ranked"] for part in parts),
    }
