"""The rules that read final answers, in the order in which they are tried.

Each rule is one function with a docstring: what it reads, and after `Not:` what it must not read.
The first rule that finds something decides: a value, or the reason why nothing can be read. Which
rule is asked for which type of answer is data, here and nowhere else; docs/answers.md holds the
table of the rules, made by `scripts/answer_rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, get_args

from vsr1_bench.answers import choice_rules, finals, prose, yes_no
from vsr1_bench.answers.reading import Found, Said
from vsr1_bench.records import AnswerType

ALL: tuple[AnswerType, ...] = get_args(AnswerType)


class Rule(NamedTuple):
    """A way of reading a final answer."""

    read: Callable[[Said], Found | None]
    kinds: tuple[AnswerType, ...]

    @property
    def name(self) -> str:
        """The function's name; stored with every verdict (`Verdict.how`)."""
        return self.read.__name__


RULES: tuple[Rule, ...] = (
    Rule(finals.boxed, ALL),
    Rule(finals.answer_tag, ALL),
    Rule(finals.json_answer, ALL),
    Rule(finals.statement, ALL),
    Rule(finals.answer_line, ("yes_no", "number", "math", "text")),
    Rule(choice_rules.answer_or_option_a, ("choice",)),
    Rule(choice_rules.only_line_choice, ("choice",)),
    Rule(choice_rules.letter_line, ("choice",)),
    Rule(choice_rules.edge_line, ("choice",)),
    Rule(choice_rules.named_letter, ("choice",)),
    Rule(choice_rules.yes_no_option, ("choice",)),
    Rule(choice_rules.denial, ("choice",)),
    Rule(choice_rules.option_text, ("choice",)),
    Rule(choice_rules.option_value, ("choice",)),
    Rule(choice_rules.listed_letters, ("choice",)),
    Rule(yes_no.yes_no_in_region, ("yes_no",)),
    Rule(prose.only_number, ("number",)),
    Rule(prose.last_line_number, ("number",)),
    Rule(prose.last_sentence_number, ("number", "math")),
    Rule(prose.several_numbers, ("number",)),
    Rule(prose.only_line, ("math", "text")),
)
