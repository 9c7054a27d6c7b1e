"""What a constant answer, a position or a length gets right, without question or image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vsr1_bench.audit.items import Item, normal
from vsr1_bench.records import LETTERS
from vsr1_bench.scoring.statistics import Interval, wilson

MOST_CATEGORIES = 200
"""Groups with more values than this are ids, not categories."""
ALPHA = 0.01
"""Level of the tests of single rules: a page shows many of them."""
LEAST_MEMBERS = 5
"""A grouping counts if its categories have at least this many items on average."""


@dataclass(frozen=True, slots=True)
class Prior:
    """The accuracy of one rule that sees neither image nor wording."""

    rule: str
    right: int
    n: int
    """Items that the rule can answer."""
    chance: float
    """Expected share right if the gold answer were independent of the rule."""
    p_value: float | None = None
    """One-sided, of the exact binomial test against chance; None if the rule was chosen by its own
    accuracy, as the most frequent answer is."""

    @property
    def share(self) -> float:
        """Share right, 0 to 1."""
        return self.right / self.n

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share."""
        return wilson(self.right, self.n) or (0.0, 1.0)

    @property
    def suspicious(self) -> bool:
        """Whether the rule works better than chance at the 1 % level."""
        return self.p_value is not None and self.p_value < ALPHA


def tested(rule: str, right: int, n: int, chance: float) -> Prior:
    """A rule with its test against chance."""
    from scipy.stats import binomtest

    p_value = binomtest(right, n, min(chance, 1.0), alternative="greater").pvalue
    return Prior(rule, right, n, chance, float(p_value))


def answer(item: Item) -> str:
    """What a constant guess must equal: the letter of an option, or the normalized answer."""
    return item.answer if item.answer_type == "choice" else normal(item.answer)


def by_form(items: Sequence[Item]) -> dict[str, list[int]]:
    """Item numbers by form: answer type and number of options."""
    forms: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        forms[item.form].append(number)
    return dict(sorted(forms.items(), key=lambda pair: -len(pair[1])))


def uniform_chance(items: Sequence[Item]) -> float:
    """Expected accuracy of a guess that draws one of the answers to the form at random.

    The answers are the options, yes and no, or all gold answers of that form.
    """
    share = 0.0
    for members in by_form(items).values():
        share += sum(1 / width for width in _widths([items[n] for n in members]))
    return share / len(items) if items else 0.0


def _widths(items: Sequence[Item]) -> list[int]:
    """Number of answers to choose from, per item of one form."""
    distinct = len({answer(item) for item in items})
    by_type = {"yes_no": 2}
    return [len(item.options) or by_type.get(item.answer_type, distinct) for item in items]


def priors(items: Sequence[Item]) -> list[Prior]:
    """The rules that apply to a benchmark, the most accurate first."""
    found = [_most_frequent(items)]
    found += [
        prior
        for name, choose in (("longest option", _longest), ("shortest option", _shortest))
        if (prior := _choosing(name, choose, items)) is not None
    ]
    found += [_category(name, items) for name in categories(items)]
    return sorted(found, key=lambda prior: -prior.share)


def _most_frequent(items: Sequence[Item]) -> Prior:
    """One constant answer per form of question, e.g. always C."""
    right = sum(
        max(Counter(answer(items[n]) for n in members).values())
        for members in by_form(items).values()
    )
    return Prior("most frequent answer per form", right, len(items), uniform_chance(items))


def _choosing(
    name: str, choose: Callable[[Sequence[int]], int | None], items: Sequence[Item]
) -> Prior | None:
    """A rule that looks only at the lengths of the options; None if it never applies."""
    right, chances = 0, []
    for item in items:
        if len(item.options) < 2 or any("<image>" in option for option in item.options):
            continue
        place = choose([len(option) for option in item.options])
        if place is not None:
            right += item.answer == LETTERS[place]
            chances.append(1 / len(item.options))
    return tested(name, right, len(chances), float(np.mean(chances))) if chances else None


def _longest(lengths: Sequence[int]) -> int | None:
    return lengths.index(max(lengths)) if lengths.count(max(lengths)) == 1 else None


def _shortest(lengths: Sequence[int]) -> int | None:
    return lengths.index(min(lengths)) if lengths.count(min(lengths)) == 1 else None


def categories(items: Sequence[Item]) -> list[str]:
    """Names of groups that are categories, not ids."""
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        for name, value in item.groups.items():
            values[name][value] += 1
    return [
        name
        for name, counts in sorted(values.items())
        if 1 < len(counts) <= MOST_CATEGORIES and counts.total() >= LEAST_MEMBERS * len(counts)
    ]


def _category(name: str, items: Sequence[Item]) -> Prior:
    """The most frequent answer among the *other* items of the same category and form.

    Leaving the item itself out keeps many small categories from looking predictable.
    """
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    keys = [(item.form, item.groups.get(name, "")) for item in items]
    for key, item in zip(keys, items, strict=True):
        counts[key][answer(item)] += 1
    right = 0
    for key, item in zip(keys, items, strict=True):
        others = counts[key].copy()
        others[answer(item)] -= 1
        right += _first(others) == answer(item)
    constant = _most_frequent(items).share
    return tested(f"most frequent answer per {name}", right, len(items), constant)


def _first(counts: Mapping[str, int]) -> str | None:
    """The most frequent answer, ties by name; None if there is none."""
    best = min(counts.items(), key=lambda pair: (-pair[1], pair[0]), default=None)
    return best[0] if best is not None and best[1] > 0 else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """The gold answers of one form."""

    form: str
    n: int
    answers: tuple[tuple[str, int], ...]
    """The most frequent first."""
    chance: float | None
    """Share of each answer if all were equally frequent; None if the answers are open."""
    p_value: float | None
    """Of a chi-square test against that; None without options."""


def distributions(items: Sequence[Item]) -> list[Distribution]:
    """Gold answers by form; letters and yes/no are tested against equal frequency."""
    from scipy.stats import chisquare

    found = []
    for form, members in by_form(items).items():
        counts = Counter(answer(items[n]) for n in members)
        first = items[members[0]]
        known = list(LETTERS[: len(first.options)]) if first.answer_type == "choice" else []
        known = ["yes", "no"] if first.answer_type == "yes_no" else known
        p_value = None
        if known and set(counts) <= set(known):
            p_value = float(chisquare([counts[one] for one in known]).pvalue)
        found.append(
            Distribution(
                form,
                len(members),
                tuple(counts.most_common()),
                1 / len(known) if known else None,
                p_value,
            )
        )
    return found
