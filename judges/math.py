"""Math: formulas compared by math-verify (numbers, fractions, intervals, lists, sets, matrices)."""

import logging
import re

from vsr1_bench.answers import extract, rounds_to, same_quantity, same_text, tidy, units_clash
from vsr1_bench.judges.string_match import grade as grade_string
from vsr1_bench.judging import Item, RuleJudge
from vsr1_bench.records import Verdict

# math-verify multiplies a word's letters (dog = god), adds `1 2` to 3, drops a base (`25_8` = 25)
# and cancels `--`: such answers are right only if they are written like the gold.
_LETTERS_ONLY = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z\s,.'-]+")
_MISREAD = re.compile(r"\d\s+\d|\d_\{?\d|--")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s+(\d+)\s?/\s?(\d+)(?![\d.])")


def grade(item: Item) -> Verdict:
    """Compare the final answer with the gold LaTeX; choices and yes/no as string match does."""
    if item.answer_type in ("choice", "yes_no"):
        return grade_string(item)
    if not item.answer.strip():
        return Verdict("unscored", reason="gold_unreadable")
    found = extract(item.response, "math")
    if found.value is None:
        return found.verdict(False)
    close = item.extra.get("rounded") and rounds_to(found.value, item.answer)
    right = bool(close) or same_formula(found.value, item.answer)
    return found.verdict(right)


def same_formula(given: str, gold: str) -> bool:
    """Whether two formulas are equal; the worker bounds math-verify's time, not itself."""
    if any(_LETTERS_ONLY.fullmatch(tidy(text)) for text in (given, gold)):
        return same_text(given, gold)
    if tidy(given) == tidy(gold) or same_quantity(given, gold):
        return True
    if units_clash(given, gold):
        return False
    from math_verify import LatexExtractionConfig, parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no timeout is set
    texts = [_MIXED.sub(r"\1\\frac{\2}{\3}", text.replace("$", "")) for text in (given, gold)]
    if any(_MISREAD.search(text) for text in texts):
        return False
    config = (LatexExtractionConfig(boxed_match_priority=0),)
    boxes = (f"\\boxed{{{text}}}" for text in texts)
    a, b = (parse(box, extraction_config=config, parsing_timeout=None) for box in boxes)
    return bool(verify(b, a, timeout_seconds=None))


JUDGE = RuleJudge(
    name="math",
    version=1,
    grade=grade,
    description="formulas by math-verify; choices and yes/no by string match",
    bounded=True,
    warm_up=lambda: same_formula("x+1", "1+x"),
    answer_type="math",
)
