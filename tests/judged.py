"""Helpers of task tests: a response judged as its task judges it, and rows in a mirror."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.judge import Item
from vsr1_bench.records import EncodedImage, Sample, Verdict
from vsr1_bench.registry import get_judge, get_task
from vsr1_bench.task import Task

RED, BLUE, GREEN = (EncodedImage(data=bytes([n])) for n in (1, 2, 3))


def item(sample: Sample, response: str) -> Item:
    """What a judge gets to see."""
    return Item.of(sample, sample.id, response)


def judged(task: Task | str, sample: Sample, response: str) -> Verdict:
    """The verdict of the task's own judge, or of the rule before a model."""
    found = get_task(task) if isinstance(task, str) else task
    return get_judge(found.judge_fallback or found.judge).grade(item(sample, response))


def one(mapped: Sample | tuple[Sample, ...]) -> Sample:
    assert isinstance(mapped, Sample)
    return mapped


def mirrored(root: Path, path: str, rows: list[dict[str, Any]]) -> Path:
    """Write rows as `<root>/<path>.jsonl`."""
    file = root / f"{path}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def load(task: str, root: Path, copy: str | None = None) -> list[Sample]:
    """Every sample of a task in a mirror."""
    return list(open_data(get_task(task), DataOptions(root, True, copy)).samples())
