"""Send the scores of a command to experiment trackers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vsr1_bench._util.trackers import open_tracker
from vsr1_bench.data.blind import NONE, run_label
from vsr1_bench.store.run_folder import RunFolder


def log_scores(
    trackers: Iterable[str],
    runs: Sequence[RunFolder],
    documents: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:
    """Log all scores as one run of each tracker; the same command again continues that run.

    Args:
        trackers: Names in `_util.trackers.TRACKERS`.
        runs: What was evaluated: the specs are the settings.
        documents: Their scores, and those of their groups.
        folder: Where wandb writes its files.
    """
    names = list(trackers)
    if not names or not documents:
        return
    specs = [run.spec() for run in runs]
    key = "".join(sorted(spec.digest() for spec in specs))
    name = f"{specs[0].model.id}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    config = {
        "model": specs[0].model.id,
        "prompt": specs[0].prompt.format,
        "tasks": sorted({spec.task.name for spec in specs}),
        "judges": sorted({str(document["judge"]) for document in documents}),
        "specs": [spec.model_dump(mode="json") for spec in specs],
        "folders": [run.path.name for run in runs],
    }
    record = dict(_numbers(documents))
    with ExitStack() as stack:
        for tracker in names:
            open_tracker(tracker, _plain(name), config, folder, stack)(record)


def _numbers(documents: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield `task/metric` and its value, its bounds and its sample size."""
    judges: dict[str, set[str]] = {}
    for document in documents:
        judges.setdefault(document["task"], set()).add(document["judge"])
    for document in documents:
        variant = document.get("variant", NONE)
        task = run_label(document["task"], variant)
        if len(judges[document["task"]]) > 1:
            task += f" [{document['judge']}]"
        for metric, value in document["metrics"].items():
            for part, suffix in (("value", ""), ("low", "/low"), ("high", "/high"), ("n", "/n")):
                if value.get(part) is not None:
                    yield f"{task}/{metric}{suffix}", value[part]
        for rate in ("total", "scored", "unparsed", "truncated", "failed"):
            yield f"{task}/{rate}", document["rates"][rate]


def _plain(name: str) -> str:
    """A name that a tracker takes as an identity: no slashes, colons and the like."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:128]
