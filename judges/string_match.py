"""String match: letters, yes or no, numbers and short texts, compared as they were answered."""

from vsr1_bench.answers import (
    extract,
    is_no_gold,
    options_of_question,
    read_answer,
    same_number,
    same_text,
    units_clash,
)
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.records import Verdict


def grade(item: Item) -> Verdict:
    """Compare the final answer with the gold answer, both read as the item's answer type.

    A gold answer that cannot be read is `unscored`: the fault is the data set's, not the model's.
    A choice's gold answer is a letter, or an option's text or value. `math` items are compared as
    text or as numbers only; `vsr1_bench.judges.math` understands formulas.
    """
    gold = gold_value(item)
    if gold is None:
        return Verdict("unscored", reason="gold_unreadable")
    choices = item.choices
    if item.answer_type == "choice":
        choices = options_of_question(choices, item.question, gold)
    found = extract(item.response, item.answer_type, choices)
    if found.value is None:
        return found.verdict(False)
    if item.answer_type == "choice":
        right = gold in (found.value, *found.equal)
    elif item.answer_type == "yes_no":
        right = found.value == gold
    elif item.answer_type == "number":
        right = same_number(found.value, gold) and not units_clash(found.raw or "", item.answer)
    else:
        right = same_text(found.value, gold)
    return found.verdict(right)


def gold_value(item: Item) -> str | None:
    """The gold answer in the form that `extract` gives, None if it is no such answer."""
    if item.answer_type in ("math", "text"):
        return None if is_no_gold(item.answer) else item.answer.strip()
    return read_answer(item.answer, item.answer_type, item.choices)


JUDGE = RuleJudge(
    name="string_match",
    version=2,
    grade=grade,
    description="letters, yes/no, numbers and short texts by exact rules",
)
