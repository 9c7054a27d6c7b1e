"""The part of a score about seeing: rates over the second pass, and the gain over blind runs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from vsr1_bench.data.blind import NONE, VARIANTS
from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.perception.reader import ReaderSpec
from vsr1_bench.scoring.join import join_readings, join_responses
from vsr1_bench.scoring.metrics import Response, Value, compute
from vsr1_bench.scoring.paired import paired_difference
from vsr1_bench.scoring.shortcuts import shortcut_document, undescribed_note
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Metric, Task

log = logging.getLogger(__name__)


def add_seeing(document: dict[str, Any], run: RunFolder, task: Task, verdicts: Path) -> None:
    """Add the numbers of the second pass and of the blind runs to a score.

    Adds `lsr`, `self_contained`, `saw_but_wrong`, `leakage` and `no_description` of the latest
    reader. Its table and categories go under `perception`, and other readers under `others` in it.
    For each blind run that the same judge has judged, adds `blind_accuracy[V]` and `gain[V]`, with
    details under `blind`.
    """
    read = perception_parts(run, task, verdicts)
    if read:
        document["metrics"] |= read[0]["metrics"]
        document["perception"] = {**read[0], "others": read[1:]}
    blind = {
        variant: part
        for variant in VARIANTS
        if (part := _whole_blind_part(run, task, verdicts, variant)) is not None
    }
    for variant, part in blind.items():
        document["metrics"][f"blind_accuracy[{variant}]"] = part["blind_accuracy"]
        document["metrics"][f"gain[{variant}]"] = part["gain"]
    if blind:
        document["blind"] = blind


def score_notes(document: dict[str, Any], notes: Sequence[str | None]) -> list[str]:
    """Footnotes of a score: the given ones, and whether descriptions are missing."""
    shown = [note for note in notes if note is not None]
    if "perception" in document:
        undescribed = undescribed_note(document["perception"])
        shown += [f"{undescribed}: lsr and saw_but_wrong"] if undescribed else []
    return list(dict.fromkeys(shown))


def keep_leakage(document: dict[str, Any], stored: Sequence[dict[str, Any]]) -> None:
    """Reuse the published `leakage`, because computing it needs the gold answers.

    It does not depend on the judge. If nothing was published for a reader, leave it empty.
    """
    parts, known = (
        {part["reader"]["digest"]: part for d in found for part in _parts(d)}
        for found in ([document], stored)
    )
    for digest, part in parts.items():
        if digest in known:
            _keep(part, known[digest])
    for part in _parts(document)[:1]:
        document["metrics"]["leakage"] = part["metrics"]["leakage"]


def _parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The part of each reader in a score, the latest reader first."""
    first = document.get("perception")
    return [first, *first["others"]] if first else []


def _keep(part: dict[str, Any], known: dict[str, Any]) -> None:
    part["metrics"]["leakage"] = known["metrics"]["leakage"]
    for name, groups in part.get("by", {}).items():
        for group, inner in groups.items():
            stored = known.get("by", {}).get(name, {}).get(group)
            if stored is not None:
                _keep(inner, stored)


def readers_of(run: RunFolder) -> list[ReaderSpec]:
    """The readers of a run's descriptions, the latest first.

    Raises:
        StoreError: a reader was written by another version.
    """
    try:
        return [ReaderSpec.model_validate(found["spec"]) for found in run.readers()]
    except ValidationError as error:
        raise StoreError(f"{run.path / 'readers'}: {error.errors()[0]['msg']}") from error


def perception_parts(run: RunFolder, task: Task, verdicts: Path) -> list[dict[str, Any]]:
    """The identity and the rates of each reader."""
    return [
        {
            "reader": identity(reader),
            **shortcut_document(join_readings(run, verdicts, reader), task.cluster),
        }
        for reader in readers_of(run)
    ]


def pooled_perception(
    members: Mapping[str, tuple[RunFolder, Path]], cluster: str | None
) -> dict[str, Any] | None:
    """The second pass over several tasks as one set; None unless one reader has read all of them.

    Args:
        members: Task -> its run and a judge's journal of verdicts on it.
        cluster: Group key whose members depend on each other.
    """
    readers = [readers_of(run)[:1] for run, _ in members.values()]
    if not readers or not all(readers) or len({found[0].digest() for found in readers}) > 1:
        return None
    ((reader,), *_) = readers
    seen = [s for run, verdicts in members.values() for s in join_readings(run, verdicts, reader)]
    return {
        "reader": identity(reader),
        **shortcut_document(seen, cluster),
        "members": sorted(members),
        "others": [],
    }


def identity(reader: ReaderSpec) -> dict[str, Any]:
    """The description of a reader in a score document."""
    fields = reader.model_dump(mode="json", exclude={"sampling", "told", "system"})
    return {"label": reader.label, "digest": reader.digest(), **fields}


def judged_twin(run: RunFolder, verdicts: Path, variant: str) -> tuple[RunFolder, Path] | None:
    """The run that differs only in its variant, and this judge's verdicts on it, if there are."""
    spec = run.spec().model_copy(update={"variant": variant})
    twin = RunFolder(run.path.parent / RunFolder.of(Path(), spec).path.name)
    theirs = twin.path / "judgments" / verdicts.name
    return (twin, theirs) if theirs.is_file() else None


def blind_part(run: RunFolder, task: Task, verdicts: Path, variant: str) -> dict[str, Any] | None:
    """Compare a run with its blind run on the samples that have a score in both.

    Returns:
        Accuracy with and without images, their difference with its paired interval, and how many
        samples are excluded; None if there is no such run, or this judge has not judged it.
    """
    found = judged_twin(run, verdicts, variant)
    if found is None:
        return None
    twin, theirs = found
    seeing, blind = (_by_sample(join_responses(*one)) for one in ((run, verdicts), (twin, theirs)))
    shared = [sample for sample in seeing if sample in blind]
    skipped = list(twin.skipped().values())
    part: dict[str, Any] = {
        "n": len(shared),
        "spec_hash": twin.spec().digest(),
        "left_out": {reason: skipped.count(reason) for reason in sorted(set(skipped))},
    }
    # Each sample counts once, as in the gain, even if several of its responses have verdicts.
    seen, unseen = (
        [Response(s, found[s][0].groups, fmean(r.correct or 0.0 for r in found[s])) for s in shared]
        for found in (seeing, blind)
    )
    accuracies = [compute(Metric("accuracy"), means, task.cluster) for means in (seen, unseen)]
    part |= {"accuracy": asdict(accuracies[0]), "blind_accuracy": asdict(accuracies[1])}
    if not shared:
        return {**part, "gain": asdict(Value(None))}
    first, second = ([r.correct or 0.0 for r in means] for means in (unseen, seen))
    clusters = [seeing[s][0].groups.get(task.cluster, s) for s in shared] if task.cluster else None
    gain = paired_difference(first, second, clusters)
    value = Value(gain.difference, gain.low, gain.high, gain.n)
    return {**part, "gain": asdict(value), "p_value": gain.p_value, "test": gain.test}


def _whole_blind_part(
    run: RunFolder, task: Task, verdicts: Path, variant: str
) -> dict[str, Any] | None:
    """`blind_part`; None with a warning if the blind run is damaged."""
    try:
        return blind_part(run, task, verdicts, variant)
    except DamagedRunError as error:
        if error.folder in (None, run.path):
            raise
        log.warning("no gain over a blind run that cannot be read: %s", error)
        return None


def _by_sample(responses: Sequence[Response]) -> dict[str, list[Response]]:
    """Sample -> its scored responses."""
    scored: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        if response.correct is not None:
            scored[response.sample_id].append(response)
    return dict(scored)


def seeing_runs(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Exclude blind runs: they have no images to describe."""
    return [run for run in runs if run.spec().variant == NONE]


def blind_first(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Order blind runs first, because the scores of the others need them for the gain."""
    return sorted(runs, key=lambda run: run.spec().variant == NONE)
