"""The section of an audit about gold answers that the models' answers speak against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from vsr1_bench.audit.blind import judge_of
from vsr1_bench.audit.golds import LEAST_RUNS, MISFIT, SUSPECT, Doubt, doubts
from vsr1_bench.audit.items import Item
from vsr1_bench.audit.page import Section, Table, examples
from vsr1_bench.audit.sections import Part, shortened
from vsr1_bench.data.blind import NONE
from vsr1_bench.scoring.pairs import Outcomes, outcomes
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Task

TITLE = "Gold answers to look at first"


def golds_part(task: Task, items: Sequence[Item], runs: Sequence[RunFolder]) -> Part:
    """Suspect gold answers, misfitting and dead items, from at least five stored runs."""
    ours = [run for run in runs if run.spec().task.name == task.name]
    judged = [
        (run, judge)
        for run in ours
        if run.spec().variant == NONE and (judge := judge_of(run, task, None)) is not None
    ]
    if len(judged) < LEAST_RUNS:
        reason = f"Not run: {len(judged)} judged runs of {task.name}; wanted at least {LEAST_RUNS}."
        return Part((), (Section(TITLE, (reason,)),), {"golds": None})
    verdicts = [outcomes(run, judge, None) for run, judge in judged]
    found = doubts(
        items,
        [{name: one.extracted[at] for name, at in _decided(one)} for one in verdicts],
        [{name for name, at in _decided(one) if one.values[at] == 1} for one in verdicts],
    )
    if not found:
        reason = f"Not run: no item has a verdict of all {len(judged)} runs of {task.name}."
        return Part((), (Section(TITLE, (reason,)),), {"golds": None})
    suspects = sorted((d for d in found if d.suspect >= SUSPECT), key=lambda d: -d.suspect)
    misfits = [d for d in found if d.against and d.outfit >= MISFIT and d.suspect < SUSPECT]
    unanimous = sum(d.unanimous for d in found)
    findings = []
    if suspects:
        findings.append(
            f"{len(suspects):,} gold answers are suspect: look at these first ({unanimous:,} "
            "against the same answer of all runs)"
        )
    dead = [sum(d.right == total for d in found) for total in (len(judged), 0)]
    text = (
        f"{len(judged)} judged runs with the image, {len(found):,} items that all of them have a "
        f"verdict on. All runs are right on {dead[0]:,} and wrong on {dead[1]:,}: these items tell "
        "no models apart."
    )
    questions = {item.id: shortened(item.question) for item in items}
    tables = (
        *([_suspects(suspects, questions)] if suspects else []),
        *([_misfits(misfits, questions)] if misfits else []),
    )
    document = {
        "golds": {
            "runs": [{"model": run.spec().model.id, "judge": judge} for run, judge in judged],
            "n": len(found),
            "all_right": dead[0],
            "all_wrong": dead[1],
            "suspects": [asdict(doubt) for doubt in suspects],
            "misfits": [asdict(doubt) for doubt in misfits],
        }
    }
    return Part(tuple(findings), (Section(TITLE, (text,), tables),), document)


def _decided(verdicts: Outcomes) -> list[tuple[str, int]]:
    """Id and position of the items whose responses are all right or all wrong."""
    both = (0.0, 1.0)
    return [(name, at) for name, at in verdicts.positions.items() if verdicts.values[at] in both]


def _suspects(found: Sequence[Doubt], questions: dict[str, str]) -> Table:
    rows = [
        (
            d.id,
            f"{d.suspect:.2f}",
            d.gold,
            d.rival or "–",
            f"{sum(one == d.rival for one in d.answers)} of {d.known}",
            questions[d.id],
        )
        for d in found
    ]
    headings = ("item", "wrong with probability", "gold", "rival", "runs for it", "question")
    return examples(headings, rows)


def _misfits(found: Sequence[Doubt], questions: dict[str, str]) -> Table:
    order = sorted(found, key=lambda d: -d.outfit)
    rows = [(d.id, f"{d.outfit:.1f}", f"{d.right} of {d.known}", questions[d.id]) for d in order]
    return examples(("strong runs miss it, weak ones hit it", "outfit", "right", "question"), rows)
