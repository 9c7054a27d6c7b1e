"""Every two runs of a task against each other: the numbers of `vsr1-bench compare`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from vsr1_bench.compare.compare import Comparison, Side, compare_sides, read_side
from vsr1_bench.data.blind import NONE
from vsr1_bench.errors import DamagedRunError, StoreError, UsageError
from vsr1_bench.report.task_runs import TaskRun
from vsr1_bench.scoring.paired import holm

MOST_RUNS = 12
"""Of a task that are paired; with more, every two of them are a table nobody reads."""


def pairs_of(members: Sequence[TaskRun], include_path: Sequence[str]) -> list[dict[str, Any]]:
    """Pair of `web/src/types.ts`, for every two runs of a task with images.

    Raises:
        DamagedRunError: a run cannot be read.
    """
    places = [i for i, one in enumerate(members) if one.spec.variant == NONE and one.judges]
    places = places[:MOST_RUNS]
    if len(places) < 2:
        return []
    sides: dict[int, Side | str] = {}
    judge = next(iter(members[places[0]].judges))
    for place in places:
        one = members[place]
        try:
            sides[place] = read_side(one.folder, place, one.label, one.task, judge, include_path)
        except DamagedRunError:
            raise
        except (StoreError, UsageError) as error:
            sides[place] = str(error)
    found = [_pair(judge, a, b, sides[a], sides[b]) for a, b in combinations(places, 2)]
    valid = [pair for pair in found if not pair["refused"]]
    for pair, p_value in zip(valid, holm([p["p_value"] for p in valid]), strict=True):
        pair["holm"] = p_value
    return found


def _pair(judge: str, a: int, b: int, first: Side | str, second: Side | str) -> dict[str, Any]:
    empty = {"first": a, "second": b, "judge": judge, "n": 0, "left_out": {}} | dict.fromkeys(
        ("first_value", "second_value", "difference", "wins", "losses"), 0
    )
    empty |= {"low": None, "high": None, "p_value": 1.0, "holm": 1.0, "test": ""}
    for side in (first, second):
        if isinstance(side, str):
            return empty | {"refused": side}
    assert isinstance(first, Side) and isinstance(second, Side)
    try:
        found: Comparison = compare_sides(first, second)
    except UsageError as error:
        return empty | {"refused": str(error)}
    paired = found.paired
    return empty | {
        "refused": "",
        "n": paired.n,
        "first_value": paired.first,
        "second_value": paired.second,
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
        "p_value": paired.p_value,
        "holm": paired.p_value,
        "test": paired.test,
        "wins": paired.wins,
        "losses": paired.losses,
        "left_out": dict(found.left_out),
    }
