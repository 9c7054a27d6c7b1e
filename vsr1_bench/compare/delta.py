"""What a scorer is worth, cell by cell: the published one beside an honest one.

`published` holds the verdicts that were published with responses, `legacy_vsr1` those that the
published scorer gives today. Both count a judgment as correct unless it says "incorrect": a call
that failed, an empty or an odd reply is a point. A cell here says how many such points it has.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.leaderboard.mixups import MixUp
from vsr1_bench.records import Judgment
from vsr1_bench.registry import get_task, load_registry
from vsr1_bench.store.judge_names import read_name, stored_name
from vsr1_bench.store.run_folder import RunFolder

OLD = ("published", "legacy_vsr1", "mathruler")
"""Default old judges: the first of these that has judged the run."""
AUTO = "auto"


@dataclass
class Cell:
    """One run, or one group of it, under two judges."""

    model: str
    task: str
    old: str
    new: str
    n: int = 0
    """Responses that both have judged."""
    old_scored: int = 0
    old_correct: float = 0
    new_scored: int = 0
    new_correct: float = 0
    failed: int = 0
    """Correct in the old only, and the judge's call had failed."""
    empty: int = 0
    """…, and its reply was empty."""
    odd: int = 0
    """…, and its reply held no verdict."""
    disagreed: int = 0
    """…, by an explicit verdict, or by the old rule."""
    gained: int = 0
    """Correct in the new only."""
    mix_up: str | None = None
    """Why these responses may be another run's (`mixups`)."""

    def count(self, old: Judgment, new: Judgment) -> None:
        """Add a response."""
        self.n += 1
        first, second = _worth(old), _worth(new)
        self.old_scored += first is not None
        self.old_correct += first or 0
        self.new_scored += second is not None
        self.new_correct += second or 0
        if (first or 0) > (second or 0):
            setattr(self, (cause := _cause(old)), getattr(self, cause) + 1)
        elif (second or 0) > (first or 0):
            self.gained += 1

    def document(self) -> dict[str, Any]:
        """As JSON values; shares in [0, 1], None if nothing was scored."""
        before = self.old_correct / self.old_scored if self.old_scored else None
        after = self.new_correct / self.new_scored if self.new_scored else None
        both = before is not None and after is not None
        return {
            "model": self.model,
            "task": self.task,
            "old": self.old,
            "new": self.new,
            "n": self.n,
            "old_value": before,
            "new_value": after,
            "delta": after - before if both and after is not None and before is not None else None,
            "lost": {
                "failed_call": self.failed,
                "empty_reply": self.empty,
                "no_verdict": self.odd,
                "other_verdict": self.disagreed,
            },
            "gained": self.gained,
            "unscored_by_new": self.n - self.new_scored,
            "mix_up": self.mix_up,
        }


def _worth(judgment: Judgment) -> float | None:
    verdict = judgment.verdict
    if verdict.outcome == "unscored":
        return None
    return verdict.score if verdict.score is not None else float(verdict.outcome == "correct")


def _cause(old: Judgment) -> str:
    """Why the old scorer may have counted this as correct; the name of a field of `Cell`."""
    if old.verdict.reason is None:
        return "disagreed"
    reply = "error" if old.raw is None else old.raw.strip().lower()
    return "failed" if reply == "error" else "odd" if reply else "empty"


def compare_judges(
    runs: Sequence[RunFolder],
    old: str = AUTO,
    new: str | None = None,
    *,
    by: str | None = None,
    include_path: Sequence[str] = (),
) -> list[Cell]:
    """Compare two judges' verdicts on the same responses.

    Args:
        runs: Stored runs; those that only one of the two has judged are left out.
        old: A judge's name, as `judge_names.stored_name` reads it; `auto` = the first of `OLD`.
        new: A judge's name; None = the task's own judge, else the only other one.
        by: A group name; adds a cell for each group.
        include_path: Folders of plug-ins.

    Raises:
        StoreError: no run has both.
        UsageError: which judge is meant is not clear.
    """
    cells: list[Cell] = []
    for run in runs:
        judged = run.judged()
        first = _old(old, list(judged))
        second = _new(run, new, [name for name in judged if name != first], include_path)
        if first is not None and second is not None:
            cells += _cells(run, first, second, by)
    if not cells:
        raise StoreError(
            f"no run is judged by {'one of ' + ', '.join(OLD) if old == AUTO else old} and by "
            f"{new or 'another judge'}; judge them first: vsr1-bench judge RUNS --judge NAME"
        )
    return cells


def _old(wanted: str, names: list[str]) -> str | None:
    for name in OLD if wanted == AUTO else (wanted,):
        if found := stored_name(name, names, "--delta"):
            return found
    return None


def _new(
    run: RunFolder, wanted: str | None, names: list[str], include_path: Sequence[str]
) -> str | None:
    if wanted is not None:
        return stored_name(wanted, names)
    names = [name for name in names if read_name(name).kind not in OLD[:2]]
    own = stored_name(get_task(run.spec().task.name, include_path).judge, names)
    if own is not None or not names:
        return own
    if len(names) > 1:
        raise UsageError(
            f"{run.path}: judged by {', '.join(sorted(names))}; say which is compared by --judge"
        )
    return names[0]


def _cells(run: RunFolder, old: str, new: str, by: str | None) -> Iterator[Cell]:
    spec, judged = run.spec(), run.judged()
    before, after = run.judgments(judged[old]), run.judgments(judged[new])
    groups = {sample.id: sample.groups for sample in run.placed_samples().values()} if by else {}
    whole = Cell(spec.model.id, spec.task.name, old, new)
    parts: dict[str, Cell] = defaultdict(lambda: Cell(spec.model.id, "", old, new))
    for key, judgment in before.items():
        if key not in after:
            continue
        whole.count(judgment, after[key])
        group = groups.get(judgment.sample_id, {}).get(by or "")
        if group is not None:
            parts[group].task = f"{spec.task.name} [{by}={group}]"
            parts[group].count(judgment, after[key])
    yield whole
    yield from (parts[group] for group in sorted(parts))


def note_mixups(
    cells: Sequence[Cell], mixups: Sequence[MixUp], include_path: Sequence[str] = ()
) -> None:
    """Say at each cell, those of a group's tasks included, what its responses may be."""
    groups = load_registry(include_path).groups
    for mixup in mixups:
        group = groups.get(mixup.task)
        tasks = {mixup.task, *(group.tasks if group else ())}
        for cell in cells:
            if cell.model in mixup.runs and cell.task.partition(" [")[0] in tasks:
                cell.mix_up = mixup.text if cell.mix_up is None else f"{cell.mix_up}; {mixup.text}"


HEADERS = (
    *("model", "task", "n", "old judge", "old %", "new judge", "new %", "Δ points"),
    *("failed call", "empty reply", "no verdict", "other verdict", "gained", "unscored"),
)


def render_delta(cells: Sequence[Cell], fmt: str) -> str:
    """Write the cells as markdown or JSON."""
    documents = [cell.document() for cell in cells]
    if fmt == "json":
        return json.dumps(documents, indent=1, sort_keys=True)
    notes = list(dict.fromkeys(d["mix_up"] for d in documents if d["mix_up"]))
    marks = {note: f" ({number})" for number, note in enumerate(notes, start=1)} | {None: ""}
    rows = [
        (
            *(_plain(d["model"]), _plain(d["task"]) + marks[d["mix_up"]], d["n"]),
            _plain(d["old"]),
            *(_percent(d["old_value"]), _plain(d["new"]), _percent(d["new_value"])),
            "–" if d["delta"] is None else f"{100 * d['delta']:+.1f}",
            *d["lost"].values(),
            *(d["gained"], d["unscored_by_new"]),
        )
        for d in documents
    ]
    table = tabulate(rows, headers=HEADERS, tablefmt="pipe", disable_numparse=True)
    footnotes = "".join(f"\n\n({n}) {_plain(note)}" for n, note in enumerate(notes, start=1))
    return (
        f"{table}\n\nfailed call, empty reply, no verdict: responses that the old judge counts as "
        "correct although nobody said so. other verdict: the new judge says otherwise, or nothing "
        "yet. gained: correct by the new judge only. Percentages leave unscored responses out."
        + footnotes
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _plain(name: str) -> str:
    """Keep a name from breaking out of its cell."""
    return " ".join(name.replace("|", "\\|").replace("<", "&lt;").split())
