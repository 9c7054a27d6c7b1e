"""ViLP: compare single words; number words equal digits, and plurals equal singulars.

The authors also hold a table of synonyms (sphere = round, stove = oven), which is not taken over:
their scores can only be higher.
"""

import re

from vsr1_bench.answers import extract, normalize_text
from vsr1_bench.judge import Item, RuleJudge
from vsr1_bench.records import Verdict

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
IRREGULAR = {"mice": "mouse", "geese": "goose", "teeth": "tooth", "feet": "foot"}
IRREGULAR |= {"children": "child", "men": "man", "women": "woman", "leaves": "leaf"}
IRREGULAR |= {"knives": "knife", "wolves": "wolf", "cacti": "cactus", "fungi": "fungus"}


def grade(item: Item) -> Verdict:
    """Compare the final answer with the gold word."""
    found = extract(item.response, "text")
    if not item.answer.strip():
        return Verdict("unscored", reason="gold_unreadable")
    if found.value is None:
        return found.verdict(False)
    return found.verdict(word(found.value) == word(item.answer))


def word(text: str) -> str:
    """The form in which two words are compared."""
    plain = normalize_text(text)
    if plain in NUMBERS:
        return str(NUMBERS.index(plain))
    plain = re.sub(r"(?<=[a-z]{2})ies$", "y", IRREGULAR.get(plain, plain))
    # `glasses` is not the plural that `glass` would have here: the images tell the two apart.
    return re.sub(r"(?<=[a-z]{2}[^suie\W\d])s$|(?<=[a-z]e)s$", "", plain)


JUDGE = RuleJudge("vilp", 2, grade, "one word: number words as digits, singular and plural alike")
