"""MathVista: integers exact, decimals rounded, lists item by item, options also when misspelt."""

import ast
import re

from vsr1_bench.answers import extract, read_number, same_text
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judges import string_match
from vsr1_bench.records import LETTERS, Verdict

NO = re.compile(r"\b(no|not|none|never|nor|neither|cannot|without)\b|n't", re.IGNORECASE)
MOST_CHARACTERS = 200
"""Of an answer that is compared with options: the distance takes the product of two lengths."""


def grade(item: Item) -> Verdict:
    """Normalise and compare; items of other benchmarks as string match does."""
    verdict = string_match.grade(item)
    if item.choices:
        return misspelt(item, verdict) if verdict.reason == "no_answer" else verdict
    kind = item.extra.get("answer_type")
    if not verdict.extracted or kind not in ("integer", "float", "list"):
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
    items = given.strip("[](){}\\ ").split(",")
    wanted = [str(value) for value in ast.literal_eval(gold)]
    return len(items) == len(wanted) and all(map(same_text, items, wanted))


def misspelt(item: Item, verdict: Verdict) -> Verdict:
    """Decide by the option whose text is nearest to an answer that names none."""
    words = extract(item.response, "text").value or ""
    letter = nearest(words[:MOST_CHARACTERS], item.choices or ())
    if letter is None:
        return verdict
    right = letter == string_match.gold_value(item)
    return Verdict("correct" if right else "incorrect", letter)


def nearest(words: str, choices: tuple[str, ...]) -> str | None:
    """The letter of the one option that is near by edit distance (Levenshtein), if one is."""
    costs = [distance(words, choice) for choice in choices]
    best = costs.index(min(costs))
    option = choices[best]
    if costs.count(costs[best]) > 1 or 6 * costs[best] > len(option):
        return None
    if read_number(words) and read_number(option):  # 15 is not a misspelling of 16
        return None
    if bool(NO.search(words)) != bool(NO.search(option)):
        return None
    return LETTERS[best]


def distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions between two texts."""
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            deletion, insertion = above[j] + 1, row[-1] + 1
            substitution = above[j - 1] + (x != y)
            row.append(min(deletion, insertion, substitution))
        above = row
    return above[-1]


JUDGE = RuleJudge("mathvista", 2, grade, "MathVista's rules: types, precision, nearest option")
