"""MathVista: integers exact, decimals rounded, lists item by item, options also when misspelt."""

import ast
import re

from vsr1_bench.answers import extract, read_number, same_text
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judges import string_match
from vsr1_bench.records import LETTERS, Verdict

NO = re.compile(r"\b(no|not|none|never|nor|neither|cannot|without)\b|n't", re.IGNORECASE)


def grade(item: Item) -> Verdict:
    """Normalise and compare; items of other benchmarks as string match does."""
    verdict, kind = string_match.grade(item), item.extra.get("answer_type")
    if item.choices and verdict.reason == "no_answer":
        letter = nearest((extract(item.response, "text").value or "")[:200], item.choices)
        right = letter == string_match.gold_value(item)
        return Verdict("correct" if right else "incorrect", letter) if letter else verdict
    if item.choices or not verdict.extracted or kind not in ("integer", "float", "list"):
        return verdict
    try:
        right = same(verdict.extracted, item.answer, kind, item.extra.get("precision"))
    except (ValueError, OverflowError, SyntaxError):  # `1/2`, `1e999`: not what was asked for
        right = False
    return Verdict("correct" if right else "incorrect", verdict.extracted)


def same(given: str, gold: str, kind: str, precision: float | None) -> bool:
    """Compare as the answer type says."""
    if kind == "integer":
        return float(given) == float(gold)  # 5.0 is 5, and 5.5 is not
    if kind == "float":
        return round(float(given), int(precision or 0)) == float(gold)
    items, wanted = given.strip("[](){}\\ ").split(","), [str(x) for x in ast.literal_eval(gold)]
    return len(items) == len(wanted) and all(map(same_text, items, wanted))


def nearest(words: str, choices: tuple[str, ...]) -> str | None:
    """The letter of the one option that is near by edit distance (Levenshtein), if one is."""
    costs = [distance(words, choice) for choice in choices]
    best = costs.index(min(costs))
    near = costs.count(costs[best]) == 1 and 6 * costs[best] <= len(choices[best])
    numbers = read_number(words) and read_number(choices[best])
    turned = bool(NO.search(words)) != bool(NO.search(choices[best]))
    return LETTERS[best] if near and not numbers and not turned else None


def distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions between two texts."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


JUDGE = RuleJudge("mathvista", 2, grade, "MathVista's rules: types, precision, nearest option")
