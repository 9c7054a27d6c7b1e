"""Agreement of two judges on the same responses: Cohen's kappa, the table, the disagreements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from vsr1_bench.errors import StoreError, UsageError
from vsr1_bench.records import Judgment
from vsr1_bench.store.judge_names import name_in_run, stored_name
from vsr1_bench.store.run_folder import RunFolder

OUTCOMES = ("correct", "incorrect")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A response on which two judges differ."""

    model: str
    task: str
    sample_id: str
    gold: str
    extracted: str | None
    first: str
    second: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two judges compared on the responses that both have judged."""

    judges: tuple[str, str]
    table: tuple[tuple[int, int], tuple[int, int]]
    """Rows: the first judge says correct, incorrect; columns: the second."""
    unscored: int
    """Responses that are excluded because one of the two has no verdict."""
    kappa: float | None
    """None if undefined: both judges gave the same single verdict to everything."""
    low: float | None
    high: float | None
    disagreements: tuple[Disagreement, ...]

    @property
    def n(self) -> int:
        """Responses compared."""
        return sum(map(sum, self.table))

    @property
    def observed(self) -> float | None:
        """Share of equal verdicts."""
        return (self.table[0][0] + self.table[1][1]) / self.n if self.n else None


def named_judges(text: str, known: Iterable[str]) -> list[str]:
    """Split `a,b` into names of judges that have judged; a name may contain commas.

    Raises:
        UsageError: fewer than two names, or one under which nothing is stored.
    """
    stored = set(known)
    names: list[str] = []
    rest = text.split(",")
    while rest:
        for size in range(len(rest), 0, -1):
            name = stored_name(",".join(rest[:size]), stored, "--judges")
            if name is not None:
                names.append(name)
                rest = rest[size:]
                break
        else:
            raise UsageError(
                f"--judges {text}: no verdicts of {rest[0].strip()!r}; there are: "
                f"{', '.join(sorted(stored)) or 'none'} (vsr1-bench judge RUNS --judge NAME)"
            )
    if len(set(names)) < 2:
        raise UsageError(f"--judges {text}: wanted at least two different ones")
    return list(dict.fromkeys(names))


def compare(runs: Sequence[RunFolder], first: str, second: str) -> Agreement:
    """Compare two judges over runs that both have judged.

    Raises:
        StoreError: one of them has not judged a run.
        UsageError: the verdicts are grades, for which kappa is not defined.
    """
    counts: Counter[tuple[str, str]] = Counter()
    unscored, differ = 0, []
    for run in runs:
        spec, samples = run.spec(), run.samples()
        one, other = (_verdicts(run, name) for name in (first, second))
        for key, generation in run.generations().items():
            if generation.error is not None:
                continue
            a, b = one.get(key), other.get(key)
            outcomes = tuple(j.verdict.outcome if j else "unscored" for j in (a, b))
            if a is None or b is None or "unscored" in outcomes:
                unscored += 1
                continue
            counts[outcomes[0], outcomes[1]] += 1
            if outcomes[0] != outcomes[1]:
                extracted = a.verdict.extracted or b.verdict.extracted
                reason = a.verdict.reason or b.verdict.reason
                where = (spec.model.id, spec.task.name, generation.sample_id)
                gold = samples[generation.sample_id].answer
                differ.append(
                    Disagreement(*where, gold, extracted, outcomes[0], outcomes[1], reason)
                )
    yes, no = OUTCOMES
    table = ((counts[yes, yes], counts[yes, no]), (counts[no, yes], counts[no, no]))
    return Agreement((first, second), table, unscored, *kappa(table), tuple(differ))


def _verdicts(run: RunFolder, judge: str) -> dict[str, Judgment]:
    judged = run.judged()
    path = judged.get(name_in_run(judge, judged))
    if path is None:
        raise StoreError(
            f"{run.path}: not judged by {judge!r}; run: vsr1-bench judge {run.path} --judge {judge}"
        )
    found = run.judgments(path)
    if any(judgment.verdict.score not in (None, 0, 1) for judgment in found.values()):
        raise UsageError(f"{run.path}: {judge!r} graded it; kappa compares verdicts, not grades")
    return found


def kappa(
    table: Sequence[Sequence[int]],
) -> tuple[float | None, float | None, float | None]:
    """Cohen's kappa with its 95 % interval (statsmodels); None if it is not defined."""
    n = sum(map(sum, table))
    # All in one cell: chance agreement is 1, and kappa would divide by zero.
    if n == 0 or any(table[i][i] == n for i in range(len(table))):
        return None, None, None
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    with np.errstate(invalid="ignore", divide="ignore"):  # its test of kappa = 0, not used here
        result = cohens_kappa(table)
    bounds = (float(result.kappa_low), float(result.kappa_upp))
    low, high = bounds if all(map(isfinite, bounds)) else (None, None)
    return float(result.kappa), low, high


def document(agreement: Agreement) -> dict[str, Any]:
    """Write as JSON values."""
    return {
        "judges": list(agreement.judges),
        "n": agreement.n,
        "unscored": agreement.unscored,
        "table": [list(row) for row in agreement.table],
        "observed": agreement.observed,
        "kappa": {"value": agreement.kappa, "low": agreement.low, "high": agreement.high},
        "disagreements": [
            {name: getattr(one, name) for name in Disagreement.__slots__}
            for one in agreement.disagreements
        ],
    }
