"""VLMs are Blind: numbers, pairs and letters in the forms that its prompts ask for.

`{3}`, `rows={5} columns={6}`, `(5,6)`, `The letter is "c".`; yes/no and numbers without braces as
string match reads them.
"""

import re
from dataclasses import replace

from vsr1_bench.answers import extract, final_region, read_answer
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.judges import string_match
from vsr1_bench.records import Verdict

MOST_CHARACTERS = 300
"""Of a last line that is read."""
BRACED = re.compile(r"\{\s?(\w{1,9})\s?\\?\}")
NUMBER = r"\s{0,3}(\d{1,4})\s{0,3}"
PAIRS = (
    (rf"\brows?\b\s{{0,3}}[=:]?{NUMBER}\W{{0,3}}(?:and )?columns?\b\s{{0,3}}[=:]?{NUMBER}", 1),
    (rf"\bcolumns?\b\s{{0,3}}[=:]?{NUMBER}\W{{0,3}}(?:and )?rows?\b\s{{0,3}}[=:]?{NUMBER}", -1),
    (rf"\b{NUMBER}rows?\b\W{{0,3}}(?:and |by )?{NUMBER}columns?\b", 1),
    (rf"\b{NUMBER}columns?\b\W{{0,3}}(?:and |by )?{NUMBER}rows?\b", -1),
    (rf"\({NUMBER},{NUMBER}\)", 1),
    (rf"^{NUMBER}[,x×\s]{NUMBER}\.?$", 1),
)
"""Patterns of a pair, and 1 for rows first, -1 for columns first."""
LETTERS = (r"^\W{0,3}([a-z])\W{0,3}$", r"[\"'“`]([a-z])[\"'”`]", r"\bis:? ([a-z])\.?$")


def grade(item: Item) -> Verdict:
    """Read braces first, then the other forms of the gold answer's kind."""
    gold = item.answer.strip().lower()
    found = extract(item.response, "text")
    if item.answer_type in ("choice", "yes_no") or found.problem in ("empty", "unfinished"):
        return string_match.grade(item)
    lines = final_region(item.response).strip().splitlines() or [""]
    words = (found.value or lines[-1][-MOST_CHARACTERS:]).lower().strip()
    if re.fullmatch(r"\d+\s*,\s*\d+", gold):
        values = pairs(re.sub(r"[{}\\$*]", " ", words).strip())
        gold = re.sub(r"\s", "", gold)
    elif re.fullmatch("[a-z]", gold):
        values = set(BRACED.findall(words)) or letters(words)
    else:
        values = {read_answer(text, "number") or text for text in BRACED.findall(words)}
        if not values:
            return string_match.grade(item)
    if len(values) == 1:
        value = values.pop()
        return replace(found, value=value, problem="").verdict(value == gold)
    return replace(found, value=None, problem="ambiguous" if values else "no_answer").verdict(False)


def pairs(words: str) -> set[str]:
    """The pairs `rows,columns` of the first form that occurs."""
    found = (({m[::order] for m in re.findall(form, words)}) for form, order in PAIRS)
    return {f"{int(rows)},{int(columns)}" for rows, columns in next(filter(None, found), set())}


def letters(words: str) -> set[str]:
    """The letters of the first form that occurs."""
    return next(filter(None, (set(re.findall(form, words)) for form in LETTERS)), set())


ABOUT = "VLMs are Blind: {3}, rows={5} columns={6}, (5,6), a quoted letter"
JUDGE = RuleJudge("vlmsareblind", 1, grade, ABOUT)
