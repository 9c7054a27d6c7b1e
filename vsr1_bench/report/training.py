"""A trainer's output folder: curves of its metrics, and the rollouts of each step in groups."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from vsr1_bench.answers.channels import split
from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.report.details import Units
from vsr1_bench.report.folder import SCHEMA, ReportFolder
from vsr1_bench.store.journal import bad_line, parse_line, read_journal, read_lines

PANELS = {
    "rewards": ("reward/total", "reward/accuracy", "reward/description_accuracy", "reward/format"),
    "validation, %": ("validation/",),
    "loss": ("loss",),
    "KL to the first model": ("kl", "visual/kl"),
    "entropy, nats": ("entropy", "visual/entropy"),
    "response length, tokens": ("length/first", "length/second"),
    "shares": (
        *("zero_variance_share", "truncated_share/first", "clip/high_share", "clip/low_share"),
        *("excluded_share", "filter/kept_share"),
    ),
    "engine against trainer": (
        "proof/mismatch",  # of earlier versions: the largest
        *("proof/mismatch_mean", "proof/mismatch_q95", "proof/mismatch_max"),
        *("proof/distance", "mismatch/max"),
    ),
    "seconds": ("seconds/generate", "seconds/read", "seconds/update", "seconds/sync"),
    "gradient norm": ("grad_norm",),
    "learning rate": ("lr",),
    "tokens per second": ("tokens_per_second",),
    "share of the card's peak": ("mfu",),
    "memory, GB": ("memory/",),
}
"""Title → names of metrics; one that ends with `/` stands for all below it."""
LOGARITHMIC = ("engine against trainer",)
_ENDS = ("reward/total", "reward/accuracy", "reward/description_accuracy", "loss", "kl")
CHUNK_BYTES = 600_000
METRICS = "metrics.jsonl"


def panels_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Title → the metrics of a panel that are there; empty panels are left out."""
    found = {
        title: [n for n in names if any(n == w or (w[-1] == "/" and n.startswith(w)) for w in ws)]
        for title, ws in PANELS.items()
    }
    return {title: metrics for title, metrics in found.items() if metrics}


def training_folders(path: Path) -> Iterator[Path]:
    """Yield the trainers' output folders at or below a path; none is looked for inside another."""
    for place, folders, files in os.walk(path):
        if METRICS in files:
            folders.clear()
            yield Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


@dataclass(frozen=True, slots=True)
class _Line:
    """Where a rollout is in the journals."""

    rank: int
    at: int
    size: int


class _Rollouts:
    """The rollouts of a training run by step; their texts stay in the journals."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.steps: dict[int, list[_Line]] = {}
        self._files: list[int] = []
        self.paths = sorted((folder / "rollouts").glob("rank-*.jsonl"))
        for rank, path in enumerate(self.paths):
            file = os.open(path, os.O_RDONLY)
            stack.callback(os.close, file)
            self._files.append(file)
            at = 0
            for number, line in read_lines(path):
                record = parse_line(line)
                if record is None or not isinstance(record.get("step"), int):
                    raise bad_line(path, number)
                self.steps.setdefault(record["step"], []).append(_Line(rank, at, len(line)))
                at += len(line)
        self.steps = dict(sorted(self.steps.items()))

    def groups(self, step: int) -> list[tuple[int, list[dict[str, Any]]]]:
        """(rank, rollouts) of each prompt of a step, in the order in which they were written."""
        found: list[tuple[int, list[dict[str, Any]]]] = []
        for line in self.steps[step]:
            record = parse_line(os.pread(self._files[line.rank], line.size, line.at)) or {}
            last = found[-1] if found else None
            if (
                last is not None
                and last[0] == line.rank
                and last[1][-1].get("sample_id") == record.get("sample_id")
                and last[1][-1].get("index", 0) < record.get("index", 0)
            ):
                last[1].append(record)
            else:
                found.append((line.rank, [record]))
        return found


def write_training(folder: ReportFolder, number: int, path: Path) -> dict[str, Any]:
    """Write a training run; return its TrainSummary of `web/src/types.ts`.

    Raises:
        DamagedRunError: a journal of it cannot be read.
        StoreError: the report cannot be written.
    """
    try:
        records = list(read_journal(path / METRICS))
        recipe = _recipe(path)
        with ExitStack() as stack:
            rollouts = _Rollouts(path, stack)
            return _write(folder, number, path, records, recipe, rollouts)
    except (StoreError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DamagedRunError):
            raise
        raise DamagedRunError(f"{path}: not a trainer's folder ({error})", path) from error


def _recipe(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / "recipe.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(
    folder: ReportFolder,
    number: int,
    path: Path,
    records: list[dict[str, Any]],
    recipe: dict[str, Any],
    rollouts: _Rollouts,
) -> dict[str, Any]:
    names = sorted({name for record in records for name in record} - {"step"})
    metrics = {name: [_number(record.get(name)) for record in records] for name in names}
    chunks: list[int] = []
    told: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    size = 0
    recorded = False

    def write_held() -> None:
        nonlocal held, size
        chunk = {"training": number, "first": chunks[-1], "steps": held}
        folder.write_data(f"train-{number}-chunk-{len(chunks) - 1}", chunk)
        held, size = [], 0

    for place, (step, lines) in enumerate(rollouts.steps.items()):
        grows = sum(line.size for line in lines)
        if held and size + grows > CHUNK_BYTES:
            write_held()
        if not held:
            chunks.append(place)
        detail = _step(step, rollouts, recipe)
        held.append(detail)
        told.append(_told(detail))
        recorded = recorded or _has_advantages(detail)
        size += grows
    if held:
        write_held()
    notices = [] if recipe else ["recipe.json is missing or cannot be read"]
    if rollouts.paths and not recorded:
        notices.append("advantages were not recorded by the version that trained this")
    document = {
        "schema": SCHEMA,
        "training": number,
        "recipe": [[name, json.dumps(value)] for name, value in recipe.items()],
        "steps": [int(record["step"]) for record in records],
        "metrics": metrics,
        "panels": [
            {"title": title, "metrics": found, "logarithmic": title in LOGARITHMIC}
            for title, found in panels_of(names).items()
        ],
        "rollouts": told,
        "chunks": chunks,
        "notices": notices,
    }
    folder.write_data(f"train-{number}", document)
    return {
        "file": f"train-{number}",
        "folder": str(path),
        "kind": "grpo" if "objective" in recipe or told else "sft",
        "model": str(recipe.get("model", "")),
        "objective": str(recipe.get("objective", "")),
        "steps": len({record["step"] for record in records}),
        "last_step": int(records[-1]["step"]) if records else None,
        "rollouts": sum(one["responses"] for one in told),
        "ends": [_ends(name, metrics[name]) for name in _ENDS if name in metrics],
    }


def _number(value: Any) -> float | None:
    """A finite number; NaN and infinity are no JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e300 else None


def _ends(name: str, values: Sequence[float | None]) -> list[Any]:
    known = [value for value in values if value is not None]
    return [name, known[0] if known else None, known[-1] if known else None]


def _step(step: int, rollouts: _Rollouts, recipe: dict[str, Any]) -> dict[str, Any]:
    groups = [_group(rank, records, recipe) for rank, records in rollouts.groups(step)]
    return {"step": step, "groups": groups}


def _group(rank: int, records: list[dict[str, Any]], recipe: dict[str, Any]) -> dict[str, Any]:
    first = records[0]
    rewards = [float(r["reward"]) for r in records if r.get("reward") is not None]
    dropped = ""
    if first.get("dropped"):
        dropped = "the group was dropped by filter_groups, or more were drawn than needed"
    return {
        "sample_id": str(first.get("sample_id", "")),
        "question": str(first.get("question", "")),
        "answer": str(first.get("answer", "")),
        "rank": rank,
        "dropped": dropped,
        "reward_mean": fmean(rewards) if rewards else None,
        "reward_std": stdev(rewards) if len(rewards) > 1 else None,
        "responses": [_rollout(record, dropped, recipe) for record in records],
    }


def _rollout(record: dict[str, Any], dropped: str, recipe: dict[str, Any]) -> dict[str, Any]:
    text = str(record.get("said") or "")
    units = Units(text)
    components, reasons = record.get("components") or {}, record.get("reasons") or {}
    return {
        "index": record.get("index", 0),
        "text": text,
        "pieces": [
            {"channel": piece.channel, "span": units.span((piece.start, piece.end))}
            for piece in split(text)
        ],
        "finish_reason": record.get("finish_reason"),
        "error": record.get("error"),
        "tokens": record.get("tokens"),
        "description": record.get("description"),
        "reading": record.get("read"),
        "reading_finish_reason": record.get("read_finish_reason"),
        "reading_error": record.get("read_error"),
        "reading_tokens": record.get("read_tokens"),
        "components": [[name, _number(value)] for name, value in components.items()],
        "reward": _number(record.get("reward")),
        "reasons": [[name, str(reason)] for name, reason in reasons.items()],
        "advantage": _number(record.get("advantage")),
        "visual_advantage": _number(record.get("visual_advantage")),
        "excluded": dropped or _excluded(record, recipe),
    }


def _excluded(record: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Why no update is made of a response; empty if one is."""
    if record.get("error") is not None:
        return "generation failed"
    if record.get("reward") is None:
        reasons = [str(reason) for reason in (record.get("reasons") or {}).values() if reason]
        return reasons[0] if reasons else "no verdict"
    if recipe.get("mask_truncated") and record.get("finish_reason") == "length":
        return "truncated (mask_truncated)"
    return ""


def _told(detail: dict[str, Any]) -> dict[str, Any]:
    """StepRollouts of `web/src/types.ts`."""
    responses = [one for group in detail["groups"] for one in group["responses"]]
    rewards = [one["reward"] for one in responses if one["reward"] is not None]
    excluded = Counter(one["excluded"] for one in responses if one["excluded"])
    return {
        "step": detail["step"],
        "groups": len(detail["groups"]),
        "responses": len(responses),
        "excluded": [[reason, count] for reason, count in excluded.most_common()],
        "reward_mean": fmean(rewards) if rewards else None,
    }


def _has_advantages(detail: dict[str, Any]) -> bool:
    return any(
        one["advantage"] is not None for group in detail["groups"] for one in group["responses"]
    )
