"""MMMU: its authors' rule for open questions; choices by string match.

An open answer is right if it is one of the alternatives. As the authors do, numbers are compared
after rounding to two decimals; unlike them, a text must be equal, not merely contain the gold.
"""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from vsr1_bench.answers import extract, read_quantity, same_text, units_clash
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judges.string_match import grade as grade_string
from vsr1_bench.records import Verdict


def grade(item: Item) -> Verdict:
    """Compare the final answer with every alternative (`extra["alternatives"]`)."""
    golds = item.extra.get("alternatives")
    if item.answer_type in ("choice", "yes_no") or not golds:
        return grade_string(item)
    found = extract(item.response, item.answer_type)
    if found.value is None:
        return found.verdict(False)
    said = found.raw or found.value  # a number's unit is in the words around it
    right = any(same_answer(found.value, gold) and not units_clash(said, gold) for gold in golds)
    if item.answer_type == "text":
        # `Tampa, Florida` for the alternatives Tampa and Florida: nothing but right answers.
        parts = [part.strip() for part in found.value.split(",")]
        right = right or all(any(same_answer(part, gold) for gold in golds) for part in parts)
    return found.verdict(right)


def same_answer(given: str, gold: str) -> bool:
    """Whether two answers are the same text or quantity, or numbers that agree to two decimals."""
    if same_text(given, gold):
        return True
    a, b = two_decimals(given), two_decimals(gold)
    return a is not None and a == b and a != 0 and not names_differ(given, gold)


def names_differ(given: str, gold: str) -> bool:
    """Whether both are equations that give values to different names."""
    names = {q.name for text in (given, gold) if (q := read_quantity(text, lead_in=False))}
    return len(names - {""}) > 1


def two_decimals(text: str) -> Decimal | None:
    """The number of a text, rounded; None if it is none, or a fraction."""
    quantity = read_quantity(text, lead_in=False)
    try:
        number = Decimal(quantity.number) if quantity else None
        return number.quantize(Decimal("0.01"), ROUND_HALF_UP) if number is not None else None
    except InvalidOperation:
        return None


ABOUT = "MMMU: any of an open question's alternatives, numbers to two decimals"
JUDGE = RuleJudge(name="mmmu", version=2, grade=grade, description=ABOUT)
