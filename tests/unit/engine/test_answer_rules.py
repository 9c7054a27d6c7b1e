"""The list of rules: named, documented, told in docs/answers.md, stored with every verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tree import ROOT

from vsr1_bench.answers import extract
from vsr1_bench.answers.rules import RULES, Rule
from vsr1_bench.judge import Item
from vsr1_bench.judges.string_match import JUDGE
from vsr1_bench.judging.grade_file import grade_file
from vsr1_bench.records import AnswerType, Judgment
from vsr1_bench.store.lines import record_as

COLORS = ("red", "blue", "green")
YES_NO = ("Yes", "No")
EXAMPLES: dict[str, tuple[str, AnswerType, tuple[str, ...] | None]] = {
    "boxed": (r"so \boxed{7}", "number", None),
    "answer_tag": ("<answer>red</answer> I think", "text", None),
    "json_answer": ('{"answer": "B", "why": "A is red"}', "choice", COLORS),
    "statement": ("It is warm, so the answer is green.\nBye", "choice", COLORS),
    "answer_line": ("2 + 2 = 4\nA: 4", "number", None),
    "answer_or_option_a": ("A: blue", "choice", COLORS),
    "only_line_choice": ("(B) blue", "choice", COLORS),
    "letter_line": ("Let me see.\nB\nThat is all.", "choice", COLORS),
    "edge_line": ("B. blue\nThe sky is blue then.", "choice", COLORS),
    "named_letter": ("I looked twice.\nI would choose C.\nGood luck", "choice", COLORS),
    "yes_no_option": ("Well, I looked at it.\nI would say no.", "choice", YES_NO),
    "denial": ("The line is not straight.", "choice", YES_NO),
    "option_text": ("The car seems to be painted blue.", "choice", COLORS),
    "option_value": ("The clock shows 5:30.", "choice", ("5:30", "6:30")),
    "listed_letters": ("(A) red (B) blue (C) green", "choice", COLORS),
    "yes_no_in_region": ("I would say no.", "yes_no", None),
    "only_number": ("There are 5 cats.", "number", None),
    "last_line_number": ("First 3 cats.\nThen 4 dogs.\n12 cm", "number", None),
    "last_sentence_number": ("He had 9. He ate 2. So 9 - 2 = 7 are left.", "number", None),
    "several_numbers": ("3 cats, 4 dogs", "number", None),
    "only_line": ("a red car", "text", None),
}
"""A rule's name -> what it decides, the answer type, the options."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_says_what_it_reads_and_what_not(rule: Rule) -> None:
    assert re.search(r"^\s*Not: ", rule.read.__doc__ or "", re.MULTILINE)


def test_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_table_in_the_docs_is_the_list() -> None:
    table = (ROOT / "docs/answers.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_decides_something(rule: Rule) -> None:
    text, kind, choices = EXAMPLES[rule.name]
    found = extract(text, kind, choices)
    assert found.rule == rule.name
    assert kind in rule.kinds
    assert found.span is not None
    start, end = found.span
    assert text[start:end] == found.raw


def test_spans_are_places_in_the_response_invisible_marks_and_thinking_included() -> None:
    text = "<think>A</think>\u200bThe \u200eans\u200bwer is (\u200bB\u200b). \u200b"
    found = extract(text, "choice", COLORS)
    assert found.span is not None
    assert (found.value, text[slice(*found.span)]) == ("B", "(\u200bB\u200b).")


@pytest.mark.parametrize(
    ("response", "how", "reason"),
    [
        ("Answer: B", "statement", None),
        ("A or B", "only_line_choice", "ambiguous"),
        ("", None, "empty"),
    ],
)
def test_a_verdict_holds_the_rule(response: str, how: str | None, reason: str | None) -> None:
    verdict = JUDGE.grade(Item("1", response, "B", "choice", COLORS))
    assert (verdict.how, verdict.reason) == (how, reason)


def test_a_judgment_of_an_older_version_is_still_read() -> None:
    verdict = {"outcome": "correct", "extracted": "B", "unparsed": False, "reason": None}
    verdict |= {"label": None, "score": None}
    old = {"key": "k", "sample_id": "s", "index": 0, "verdict": verdict, "schema": 1}
    assert record_as(Judgment, old).verdict.how is None


@pytest.mark.parametrize("judge", ["string_match", "math"])
def test_explain_adds_rule_span_and_words(tmp_path: Path, judge: str) -> None:
    given, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"id": 1, "response": "I see. Answer: (B)", "answer": "B", "choices": ["red", "blue"]},
        {"id": 2, "response": "", "answer": "B", "choices": ["red", "blue"]},
    ]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    grade_file(given, judge, made, progress=False, explain=True)
    first, second = (json.loads(line) for line in made.read_text("utf-8").splitlines())
    assert (first["rule"], first["span"], first["words"]) == ("statement", [15, 18], "(B)")
    assert (second["rule"], second["span"], second["words"]) == (None, None, None)
    grade_file(given, judge, made, progress=False)
    plain = json.loads(made.read_text("utf-8").splitlines()[0])
    assert list(plain) == ["id", "verdict", "extracted", "unparsed", "reason"]
