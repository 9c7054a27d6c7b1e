"""What to run next, where a report lacks something."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from vsr1_bench.data.blind import NONE, VARIANTS
from vsr1_bench.report.task_runs import TaskRun
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.store.environment import COMMAND


def next_steps(number: int, members: Sequence[TaskRun]) -> list[dict[str, Any]]:
    """NextStep of `web/src/types.ts`, for the runs of one task.

    Args:
        number: Of the task.
        members: Its runs.
    """
    blind = {one.blind_of for one in members if one.spec.variant in VARIANTS}
    return [
        {"why": why, "command": command, "task": number, "run": place}
        for place, one in enumerate(members)
        for why, command in _steps(one, has_blind=place in blind)
    ]


def _steps(one: TaskRun, *, has_blind: bool) -> Iterator[tuple[str, str]]:
    folder = shlex.quote(str(one.folder.path))
    where = f"{one.task}, {one.label}"
    withheld = one.folder.withheld()
    scores = {str(document["judge"]): document for document in one.folder.scores()}
    if "answer" in withheld:
        yield (
            f"{where}: came without gold answers; judging puts them back from the data",
            f"{COMMAND} judge {folder} --data_root DIR",
        )
    elif not one.judges:
        yield f"{where}: not judged", f"{COMMAND} judge {folder}"
    for judge in one.judges:
        document = scores.get(judge)
        if document is None:
            yield (
                f"{where}: judged by {judge}, but not scored",
                f"{COMMAND} score {folder} --judge {shlex.quote(judge)}",
            )
        elif (without := _without_verdict(document)) and "answer" not in withheld:
            yield (
                f"{where}: {without} responses have no verdict by {judge}",
                f"{COMMAND} judge {folder} --judge {shlex.quote(judge)}",
            )
    command = str(one.folder.meta().get("command") or "")
    if not command or one.spec.sampling is None:
        return
    first = scores.get(next(iter(one.judges), ""))
    if first is not None and (open_ := _not_made(one, first)):
        yield f"{where}: {open_} responses failed or are missing; the same command resumes", command
    if one.spec.variant != NONE:
        return
    if not readers_of(one.folder):
        yield (
            f"{where}: no second pass, so nobody knows which correct answers rest on the image",
            f"{command} --perception",
        )
    if not has_blind:
        yield f"{where}: no blind run to compare with", f"{command} --blind drop"


def _without_verdict(document: dict[str, Any]) -> int:
    rates = document["rates"]
    failed = round(rates["failed"] * rates["total"])
    told = sum(int(one["n"]) for one in document.get("unscored", ()))
    return min(int(told), int(rates["total"] - rates["scored"] - failed))


def _not_made(one: TaskRun, document: dict[str, Any]) -> int:
    rates = document["rates"]
    left_out = len(one.folder.skipped()) if one.spec.variant != NONE else 0
    asked = (one.folder.wanted() - left_out) * one.spec.responses_per_sample
    failed: int = round(rates["failed"] * rates["total"])
    return max(0, asked - one.folder.count()) + failed
