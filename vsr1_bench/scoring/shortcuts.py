"""Rates over the two passes: does a correct answer rest on the image? (Vision-SR1, section 5).

Every response falls into one cell of the 2 x 2 table (does the description suffice x is the answer
correct), or has no description, or is not counted because one of its two verdicts is missing.
`docs/seeing-or-guessing.md` has each formula with its denominator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from vsr1_bench.scoring.metrics import OfSample, Response, Value, compute
from vsr1_bench.scoring.score import useful_groups
from vsr1_bench.task import Metric

READ_METRICS = ("lsr", "self_contained", "saw_but_wrong")
"""Metrics that depend on the reader."""
OVER_ALL = ("lsr", "saw_but_wrong")
"""Metrics over all responses: they mean nothing if no response has a description."""
UNDESCRIBED_AT_MOST = 0.01
"""They are ranked only up to this share of responses without a description."""
METRICS = (*READ_METRICS, "leakage", "no_description")


class Seen(OfSample, frozen=True, gc=False):
    """One response as these rates see it; None = not known."""

    correct: bool | None
    """The verdict on its answer."""
    described: bool | None = None
    """Whether it has a description; None = there is no response."""
    sufficient: bool | None = None
    """The verdict on the reader's answer."""
    leaks: bool | None = None
    """Whether the description states the final answer as such; this needs the gold answer."""
    cut: bool = False
    """Whether the reading was truncated; the answer might have followed."""

    @property
    def counted(self) -> bool:
        """Whether all verdicts that decide its cell exist."""
        known = self.described is False or self.sufficient is not None
        return self.correct is not None and known

    @property
    def shortcut(self) -> bool:
        """Correct answer, insufficient description."""
        return bool(self.described and not self.sufficient and self.correct)

    @property
    def saw_but_wrong(self) -> bool:
        """Incorrect answer, sufficient description."""
        return bool(self.described and self.sufficient and not self.correct)


def shortcut_metrics(seen: Sequence[Seen], cluster: str | None) -> dict[str, Value]:
    """Compute the rates, each with its interval and the number of responses behind it.

    Args:
        seen: All responses of a run.
        cluster: Group key whose members depend on each other; None = samples are independent.
    """
    counted = [one for one in seen if one.counted]
    in_table = [one for one in counted if one.described]
    checked = [one for one in seen if one.described and one.leaks is not None]
    answered = [one for one in seen if one.described is not None]

    def share(among: Sequence[Seen], flag: Callable[[Seen], bool | None]) -> Value:
        flagged = [Response(s.sample_id, s.groups, float(bool(flag(s)))) for s in among]
        return compute(Metric("accuracy"), flagged, cluster)

    # Without descriptions there are no shortcuts past them. A rate of 0 would be misleading.
    described = counted if in_table else ()
    rates = (
        share(described, lambda s: s.shortcut),
        share(in_table, lambda s: s.sufficient),
        share(described, lambda s: s.saw_but_wrong),
        share(checked, lambda s: s.leaks),
        share(answered, lambda s: not s.described),
    )
    return dict(zip(METRICS, rates, strict=True))


def shortcut_table(seen: Sequence[Seen]) -> dict[str, Any]:
    """Count the cells of the 2 x 2 table, and the responses outside it."""
    counted = [one for one in seen if one.counted]
    cells = [(bool(s.sufficient), bool(s.correct)) for s in counted if s.described]

    def row(sufficient: bool) -> dict[str, int]:
        return {
            "correct": cells.count((sufficient, True)),
            "incorrect": cells.count((sufficient, False)),
        }

    return {
        "n": len(counted),
        "table": {"sufficient": row(True), "insufficient": row(False)},
        "undescribed": sum(not s.described for s in counted),
        "uncounted": len(seen) - len(counted),
        "cut_readings": sum(s.cut for s in counted),
    }


def without_empty_rates(part: dict[str, Any]) -> dict[str, Any]:
    """Correct a part of an older version, which counted 0 shortcuts if nothing was described."""
    by = {
        name: {group: without_empty_rates(inner) for group, inner in groups.items()}
        for name, groups in part.get("by", {}).items()
    }
    empty = part["n"] and part["undescribed"] == part["n"]
    nothing = asdict(Value(None))
    metrics = part["metrics"] | (dict.fromkeys(OVER_ALL, nothing) if empty else {})
    return {**part, "metrics": metrics, **({"by": by} if by else {})}


def undescribed_note(part: dict[str, Any]) -> str | None:
    """Why `lsr` and `saw_but_wrong` must not be ranked; None if they may be."""
    if part["undescribed"] <= UNDESCRIBED_AT_MOST * part["n"]:
        return None
    return f"{part['undescribed']:,} of {part['n']:,} responses have no description"


def shortcut_document(seen: Sequence[Seen], cluster: str | None) -> dict[str, Any]:
    """Write metrics and table of a run, and of each of its categories, as JSON values."""

    def part(among: Sequence[Seen]) -> dict[str, Any]:
        metrics = shortcut_metrics(among, cluster)
        return {
            **shortcut_table(among),
            "metrics": {name: asdict(value) for name, value in metrics.items()},
        }

    by = {
        name: {group: part(members) for group, members in groups.items()}
        for name, groups in useful_groups(seen).items()
    }
    return {**part(seen), "by": by}
