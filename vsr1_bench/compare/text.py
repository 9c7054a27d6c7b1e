"""Paired comparisons as text: a table, its explanation, the flips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsr1_bench.compare.compare import Comparison, Flip
from vsr1_bench.leaderboard.rendering import markdown, markdown_text
from vsr1_bench.leaderboard.sheet import Sheet


def comparison_texts(
    comparisons: list[Comparison], paths: Sequence[Path], missing: dict[str, list[str]], flips: int
) -> list[str]:
    """Write comparisons as paragraphs and tables of markdown.

    Args:
        comparisons: From `compare_runs`.
        paths: What was compared, in its order.
        missing: From `tasks_left_out`.
        flips: How many samples of each comparison to list on which the runs differ.
    """
    legend = _legend(comparisons, paths)
    texts = [
        "  \n".join(f"{_letter(place)} = {markdown_text(name)}" for place, name in legend.items()),
        markdown(Sheet(HEADINGS, tuple(_row(one) for one in comparisons))),
        _explanation(comparisons),
    ]
    for one in comparisons:
        what = pair_name(one)
        if one.left_out:
            counts = ", ".join(f"{count:,} {reason}" for reason, count in one.left_out.items())
            texts.append(f"Left out of {one.task}, {what}: {counts}.")
        if flips and one.flips:
            rows = tuple(_flip_row(flip) for flip in one.flips[:flips])
            more = len(one.flips) - len(rows)
            texts.append(f"Flips of {one.task}, {what}" + (f" ({more:,} more)" if more else ""))
            texts.append(markdown(Sheet(FLIP_HEADINGS, rows)))
    for task, where in missing.items():
        named = ", ".join(map(markdown_text, where))
        texts.append(f"Not all have {markdown_text(task)}: there is no run of it in {named}.")
    return texts


HEADINGS = (
    "task", "judge", "n", "difference", "from", "to", "points", "95 % interval", "p", "test",
    "p (Holm)", "won", "lost", "tied", "detectable",
)  # fmt: skip
FLIP_HEADINGS = ("sample", "gold", "first said", "second said", "first", "second")


def _legend(comparisons: list[Comparison], paths: Sequence[Path]) -> dict[int, str]:
    """Position of a path -> model and setting, with the path if that is ambiguous."""
    named: dict[int, dict[str, None]] = {}
    for one in comparisons:
        named.setdefault(one.first_place, {})[one.first] = None
        named.setdefault(one.second_place, {})[one.second] = None
    labels = {place: " / ".join(named[place]) for place in sorted(named)}
    alike = len(set(labels.values())) < len(labels)
    return {
        place: f"{label}, {paths[place]}" if alike else label for place, label in labels.items()
    }


def _letter(place: int) -> str:
    """A to Z, then AA, AB and so on."""
    before = _letter(place // 26 - 1) if place >= 26 else ""
    return before + chr(ord("A") + place % 26)


def pair_name(one: Comparison) -> str:
    """How a comparison is called beside the legend: `B − A`."""
    return f"{_letter(one.second_place)} − {_letter(one.first_place)}"


def _row(one: Comparison) -> tuple[str, ...]:
    p = one.paired
    interval = (
        "–" if p.low is None or p.high is None else f"{points_text(p.low)} to {points_text(p.high)}"
    )
    clustered = "" if p.clusters == p.n else f" ({p.clusters:,} clusters)"
    return (
        one.task,
        one.judge,
        f"{p.n:,}{clustered}",
        pair_name(one),
        f"{100 * p.first:.1f}",
        f"{100 * p.second:.1f}",
        points_text(p.difference),
        interval,
        p_text(p.p_value),
        p.test,
        p_text(one.holm),
        f"{p.wins:,}",
        f"{p.losses:,}",
        f"{p.ties:,}",
        "–" if p.detectable is None else f"{100 * p.detectable:.1f}",
    )


def points_text(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def p_text(value: float) -> str:
    """A p value."""
    return "≤ 0.0001" if value <= 0.0001 else f"{value:.4f}"


def _explanation(comparisons: list[Comparison]) -> str:
    lines = [
        "A difference is the later run minus the earlier one, in points, over the samples that "
        "both have a verdict on; won and lost are samples. `detectable` is the smallest true "
        "difference that so many samples show in 80 % of cases (p below 0.05, t test, by the "
        "spread of the differences seen here)."
    ]
    if len(comparisons) > 1:
        lines.append(f"p (Holm) is adjusted for these {len(comparisons)} comparisons.")
    if any(
        one.paired.mcnemar is not None and one.paired.test != "McNemar exact" for one in comparisons
    ):
        values = ", ".join(
            f"{one.task} {p_text(one.paired.mcnemar)}"
            for one in comparisons
            if one.paired.mcnemar is not None and one.paired.test != "McNemar exact"
        )
        lines.append(
            "Samples that share a cluster depend on each other, so whole clusters are tested; "
            f"McNemar's exact test, which takes them as independent, would give: {values}."
        )
    return " ".join(lines)


def _flip_row(flip: Flip) -> tuple[str, ...]:
    return (
        flip.sample_id,
        flip.gold[:60],
        (flip.first_answer or "–")[:60],
        (flip.second_answer or "–")[:60],
        _share(flip.first),
        _share(flip.second),
    )


def _share(value: float) -> str:
    return {0.0: "wrong", 1.0: "right"}.get(value, f"{value:.2f}")
